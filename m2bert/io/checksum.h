#pragma once
// Checksums by the names that Python's hashlib and xxhash give them.
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace m2bert::io {

// md5, sha1, sha224, sha256, sha384, sha512, sha3_224, sha3_256, sha3_384, sha3_512, blake2b, blake2s, xxh32, xxh64, xxh3_64, xxh128
// and xxh3_128 (which is xxh128).
const std::vector<std::string>& checksum_names();
bool is_checksum(std::string_view name);
// Lower-case hexadecimal digits; nullopt for an unknown name. Throws if this machine's OpenSSL lacks the algorithm.
std::optional<std::string> checksum(std::string_view name, std::string_view bytes);

}  // namespace m2bert::io
