#pragma once
// The sequences that a mixer kernel works on, by the length of their filters.
#include <algorithm>
#include <vector>

#include "m2bert/ops/backend/cpu/simd/monarch_mix_simd.h"
#include "m2bert/ops/cu_seqlens.h"
#include "m2bert/ops/monarch_mix.h"

namespace m2bert::ops::cpu {

struct MixerSequences {
  std::vector<SequenceRows> sequences;  // those that are not empty
  std::vector<int> filter_rows;         // of the filters that SequenceRows::filter names, ascending
  bool operator==(const MixerSequences&) const = default;
};

// Of a padded batch [B, L, ...], every row of which is a token.
inline MixerSequences padded_sequences(int B, int L) { return {equal_sequences(B, L), {L}}; }

// Of rows without padding, given filters of at most filter_length rows.
inline MixerSequences varlen_sequences(const CuSeqlens& cu_seqlens, int filter_length) {
  MixerSequences m;
  for (int b = 0; b < cu_seqlens.sequences(); ++b) {
    if (cu_seqlens.length(b) > 0) m.sequences.push_back({cu_seqlens.begin(b), cu_seqlens.length(b)});
  }
  for (const SequenceRows& s : m.sequences) m.filter_rows.push_back(varlen_filter_length(s.length, filter_length));
  const auto rows = m.filter_rows;
  std::ranges::sort(m.filter_rows);
  m.filter_rows.erase(std::ranges::unique(m.filter_rows).begin(), m.filter_rows.end());
  for (size_t i = 0; i < rows.size(); ++i)
    m.sequences[i].filter = size_t(std::ranges::lower_bound(m.filter_rows, rows[i]) - m.filter_rows.begin());
  return m;
}

}  // namespace m2bert::ops::cpu
