#pragma once
// xxHash: fast fingerprints of files and settings. Not cryptographic.
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace m2bert::io {

uint64_t hash64(std::string_view bytes, uint64_t seed = 0);
std::string hash128(std::string_view bytes);               // 32 hexadecimal digits
std::string hash_file(const std::filesystem::path& file);  // hash128 of the content, read in pieces

// hash128 of data that comes in pieces.
class Hasher {
 public:
  Hasher();
  ~Hasher();
  Hasher(Hasher&&) noexcept;
  Hasher& operator=(Hasher&&) noexcept;
  void update(std::string_view bytes);
  std::string hash128() const;  // of everything so far

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace m2bert::io
