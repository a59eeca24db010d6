#include "m2bert/ops/backend/cpu/simd/embedding_host.h"

#include <algorithm>

#include "m2bert/ops/backend/cpu/simd/parallel.h"
#include "m2bert/ops/backend/cpu/simd/scratch.h"
#include "m2bert/ops/backend/cpu/simd/stage.h"

namespace m2bert::ops::cpu {

template <class T>
void embed_rows(const EmbeddingSource& source, int64_t rows, T* y, int threads) {
  const int step = tile_step(rows, threads);
  parallel_for((rows + step - 1) / step, threads, [&](int64_t tile) {
    static thread_local Scratch memory;
    const int64_t first = tile * step;
    const int count = int(std::min<int64_t>(step, rows - first));
    std::vector<const int32_t*> index = source.index;
    for (auto& i : index) i += first;
    const Stage timed(StageKind::embeddings, 0, int64_t(count) * source.columns * int64_t(sizeof(T)) * int64_t(index.size() + 1));
    embed_tile(source.tables.data(), index.data(), int(index.size()), rotation_of(source.columns), source.norm, count, source.columns,
               y + first * source.columns, memory.of<float>(2 * size_t(source.columns)));
  });
}
template void embed_rows(const EmbeddingSource&, int64_t, float*, int);
template void embed_rows(const EmbeddingSource&, int64_t, uint16_t*, int);

}  // namespace m2bert::ops::cpu
