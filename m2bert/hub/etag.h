#pragma once
// ETags of a hub: they name blobs in the cache, and most of them are checksums of the content.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "m2bert/io/digest.h"

namespace m2bert::hub {

// The value of an ETag header without W/ and quotes. Throws unless it can name a file: up to 128 letters, digits, "-", "_" and ".".
std::string parse_etag(std::string_view header, const std::string& file);

// The digest of a file's content that the ETag must equal, ready for the content: SHA-256 for large files, git's SHA-1 for small ones.
// nullopt for other ETags, which cannot be checked. size: of the content, in bytes.
std::optional<io::Digest> digest_of_etag(const std::string& etag, uint64_t size);

}  // namespace m2bert::hub
