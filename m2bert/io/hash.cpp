#include "m2bert/io/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cstdio>

#include "m2bert/error.h"
#include "m2bert/io/file.h"

namespace m2bert::io {
namespace {

std::string hex(XXH128_hash_t hash) {
  char text[33];
  std::snprintf(text, sizeof text, "%016llx%016llx", static_cast<unsigned long long>(hash.high64),
                static_cast<unsigned long long>(hash.low64));
  return text;
}

}  // namespace

struct Hasher::State {
  XXH3_state_t* state = XXH3_createState();
  ~State() { XXH3_freeState(state); }
};

Hasher::Hasher() : state_(std::make_unique<State>()) {
  require(state_->state && XXH3_128bits_reset(state_->state) == XXH_OK, "out of memory for a hash");
}
Hasher::~Hasher() = default;
Hasher::Hasher(Hasher&&) noexcept = default;
Hasher& Hasher::operator=(Hasher&&) noexcept = default;

void Hasher::update(std::string_view bytes) { XXH3_128bits_update(state_->state, bytes.data(), bytes.size()); }

std::string Hasher::hash128() const { return hex(XXH3_128bits_digest(state_->state)); }

uint64_t hash64(std::string_view bytes, uint64_t seed) { return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed); }

std::string hash128(std::string_view bytes) { return hex(XXH3_128bits(bytes.data(), bytes.size())); }

std::string hash_file(const std::filesystem::path& file) {
  const RandomFile in(file);
  Hasher hasher;
  std::string piece(size_t{1} << 20, '\0');
  for (uint64_t at = 0; at < in.size(); at += piece.size()) {
    piece.resize(std::min<uint64_t>(piece.size(), in.size() - at));
    in.read(at, std::as_writable_bytes(std::span(piece)));
    hasher.update(piece);
  }
  return hasher.hash128();
}

}  // namespace m2bert::io
