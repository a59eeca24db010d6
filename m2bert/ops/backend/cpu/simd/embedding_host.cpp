#include "m2bert/ops/backend/cpu/simd/embedding_host.h"

#include <algorithm>

#include "m2bert/ops/backend/cpu/simd/parallel.h"
#include "m2bert/ops/backend/cpu/simd/profile_scope.h"
#include "m2bert/ops/backend/cpu/simd/quantize_simd.h"
#include "m2bert/ops/backend/cpu/simd/scratch.h"
#include "m2bert/ops/backend/cpu/simd/tile.h"

namespace m2bert::ops::cpu {

template <class T>
void embed_rows(const EmbeddingInputs& in, int64_t rows, T* y, int threads) {
  const int step = rows_per_task(rows, threads);
  parallel_for((rows + step - 1) / step, threads, [&](int64_t tile) {
    static thread_local Scratch memory;
    const int64_t first = tile * step;
    const int count = int(std::min<int64_t>(step, rows - first));
    std::vector<const int32_t*> index = in.index;
    for (auto& i : index) i += first;
    const ProfileScope timed(ProfileStage::embeddings, 0, int64_t(count) * in.columns * int64_t(sizeof(T)) * int64_t(index.size() + 1));
    embed_tile(in.tables.data(), index.data(), int(index.size()), hadamard_block(in.columns), in.norm, count, in.columns,
               y + first * in.columns, memory.of<float>(2 * size_t(in.columns)));
  });
}
template void embed_rows(const EmbeddingInputs&, int64_t, float*, int);
template void embed_rows(const EmbeddingInputs&, int64_t, uint16_t*, int);

}  // namespace m2bert::ops::cpu
