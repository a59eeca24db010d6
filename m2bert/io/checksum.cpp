#include "m2bert/io/checksum.h"

#include <openssl/evp.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cstdio>

#include "m2bert/error.h"

namespace m2bert::io {
namespace {

struct OpenSslName {
  std::string_view name;
  const char* algorithm;
};
constexpr std::array<OpenSslName, 12> openssl_names = {{{"blake2b", "BLAKE2b512"},
                                                        {"blake2s", "BLAKE2s256"},
                                                        {"md5", "MD5"},
                                                        {"sha1", "SHA1"},
                                                        {"sha224", "SHA224"},
                                                        {"sha256", "SHA256"},
                                                        {"sha384", "SHA384"},
                                                        {"sha3_224", "SHA3-224"},
                                                        {"sha3_256", "SHA3-256"},
                                                        {"sha3_384", "SHA3-384"},
                                                        {"sha3_512", "SHA3-512"},
                                                        {"sha512", "SHA512"}}};
constexpr std::array<std::string_view, 5> xxhash_names = {"xxh128", "xxh32", "xxh3_128", "xxh3_64", "xxh64"};

std::string hex(uint64_t value, int digits) {
  char text[17];
  std::snprintf(text, sizeof text, "%0*llx", digits, static_cast<unsigned long long>(value));
  return text;
}

std::string openssl_checksum(const OpenSslName& name, std::string_view bytes) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  const EVP_MD* algorithm = EVP_get_digestbyname(name.algorithm);
  require(algorithm && EVP_Digest(bytes.data(), bytes.size(), digest.data(), &size, algorithm, nullptr) == 1,
          "the OpenSSL of this machine has no ", name.algorithm, ", which ", name.name, " needs");
  std::string text;
  for (unsigned i = 0; i < size; ++i) (text += kHex[digest[i] >> 4]) += kHex[digest[i] & 15];
  return text;
}

std::string xxhash_checksum(std::string_view name, std::string_view bytes) {
  if (name == "xxh32") return hex(XXH32(bytes.data(), bytes.size(), 0), 8);
  if (name == "xxh64") return hex(XXH64(bytes.data(), bytes.size(), 0), 16);
  if (name == "xxh3_64") return hex(XXH3_64bits(bytes.data(), bytes.size()), 16);
  const XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
  return hex(hash.high64, 16) + hex(hash.low64, 16);
}

}  // namespace

const std::vector<std::string>& checksum_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all(xxhash_names.begin(), xxhash_names.end());
    for (const OpenSslName& name : openssl_names) all.emplace_back(name.name);
    std::sort(all.begin(), all.end());
    return all;
  }();
  return names;
}

bool is_checksum(std::string_view name) {
  return std::find(checksum_names().begin(), checksum_names().end(), name) != checksum_names().end();
}

std::optional<std::string> checksum(std::string_view name, std::string_view bytes) {
  for (const OpenSslName& known : openssl_names)
    if (known.name == name) return openssl_checksum(known, bytes);
  if (std::find(xxhash_names.begin(), xxhash_names.end(), name) == xxhash_names.end()) return std::nullopt;
  return xxhash_checksum(name, bytes);
}

}  // namespace m2bert::io
