#include "m2bert/io/digest.h"

#include <openssl/evp.h>

#include <array>

#include "m2bert/error.h"

namespace m2bert::io {

struct Digest::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~State() { EVP_MD_CTX_free(context); }
};

Digest::Digest(Kind kind) : state_(std::make_unique<State>()) {
  const EVP_MD* algorithm = kind == Kind::sha1 ? EVP_sha1() : EVP_sha256();
  require(state_->context && EVP_DigestInit_ex(state_->context, algorithm, nullptr) == 1, "OpenSSL has no ",
          kind == Kind::sha1 ? "SHA-1" : "SHA-256");
}

Digest::~Digest() = default;
Digest::Digest(Digest&&) noexcept = default;
Digest& Digest::operator=(Digest&&) noexcept = default;

void Digest::update(std::string_view bytes) {
  require(EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()) == 1, "OpenSSL cannot update a checksum");
}

std::string Digest::finish() {
  static constexpr char hex[] = "0123456789abcdef";
  std::array<unsigned char, EVP_MAX_MD_SIZE> bytes{};
  unsigned size = 0;
  require(EVP_DigestFinal_ex(state_->context, bytes.data(), &size) == 1, "OpenSSL cannot finish a checksum");
  std::string text;
  for (unsigned i = 0; i < size; ++i) (text += hex[bytes[i] >> 4]) += hex[bytes[i] & 15];
  return text;
}

}  // namespace m2bert::io
