#pragma once
// SHA-1 and SHA-256 of data that comes in pieces, with OpenSSL: to check downloads.
#include <memory>
#include <string>
#include <string_view>

namespace m2bert::io {

class Digest {
 public:
  enum class Kind { sha1, sha256 };
  explicit Digest(Kind kind);
  ~Digest();
  Digest(Digest&&) noexcept;
  Digest& operator=(Digest&&) noexcept;

  void update(std::string_view bytes);
  // Lower-case hexadecimal digits of everything so far. No more bytes can be added.
  std::string finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace m2bert::io
