#pragma once
// SHA-1 and SHA-256 from pieces, by OpenSSL: to check what came over a network against its name.
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
  // Lower-case hexadecimal digits of everything so far. Nothing can be added afterwards.
  std::string finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace m2bert::io
