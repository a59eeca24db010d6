#include "m2bert/infer/fill_mask.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "m2bert/error.h"

namespace m2bert::infer {
namespace {

std::vector<int> masks_of(const data::Batch& batch, int row, int32_t mask_id) {
  std::vector<int> positions;
  for (int i = 0; i < batch.length; ++i)
    if (batch.input_ids[static_cast<size_t>(row * batch.length + i)] == mask_id) positions.push_back(i);
  return positions;
}

}  // namespace

FillMask::FillMask(models::Pretrained pretrained, const EmbedOptions& options)
    : pretrained_(std::move(pretrained)), batcher_(pretrained_.tokenizer, batch_options(pretrained_, options)) {
  require(pretrained_.model->head() == models::Head::masked_lm,
          "this model has no masked-LM head (cls.predictions); pretraining checkpoints have one");
  require(pretrained_.tokenizer.mask_id() >= 0, "the vocabulary has no [MASK] token");
}

std::vector<FilledMask> FillMask::fill(const mx::array& logits_of_masks, std::span<const int> positions, uint64_t text, int top_k) const {
  const std::vector<float> probabilities = models::to_floats(mx::softmax(mx::astype(logits_of_masks, mx::float32), -1, true));
  const size_t width = probabilities.size() / positions.size();
  const size_t tokens = std::min(width, pretrained_.tokenizer.vocab_size());  // the rest pads the vocabulary to a multiple of 8
  const size_t wanted = std::min(static_cast<size_t>(top_k), tokens);
  std::vector<FilledMask> filled;
  for (size_t mask = 0; mask < positions.size(); ++mask) {
    const float* p = probabilities.data() + mask * width;
    require(std::isfinite(p[0]), "text ", text + 1, " gets probabilities that are not finite", why_not_finite(pretrained_));
    std::vector<int32_t> order(tokens);
    std::iota(order.begin(), order.end(), 0);
    std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(wanted), order.end(),
                      [p](int32_t a, int32_t b) { return p[a] != p[b] ? p[a] > p[b] : a < b; });
    FilledMask guesses{positions[mask], {}};
    for (size_t k = 0; k < wanted; ++k)
      guesses.guesses.push_back({order[k], std::string(pretrained_.tokenizer.token(order[k])), p[order[k]]});
    filled.push_back(std::move(guesses));
  }
  return filled;
}

std::vector<std::vector<FilledMask>> FillMask::fill(const Window& window, uint64_t first, int top_k,
                                                    const std::function<bool()>& stop) const {
  require(top_k >= 1, "top_k ", top_k, ": wants at least 1");
  std::vector<std::vector<FilledMask>> results(window.texts());
  for (const TextBatch& batch : window.batches) {
    if (stop && stop()) return {};
    std::vector<std::vector<int>> masks;
    for (int row = 0; row < batch.rows; ++row) masks.push_back(masks_of(batch, row, pretrained_.tokenizer.mask_id()));
    if (std::all_of(masks.begin(), masks.end(), [](const auto& positions) { return positions.empty(); })) continue;
    auto pass = nn::Pass::without_padding();
    const mx::array hidden = pretrained_.model->hidden_states(models::inputs_of(batch), pass);  // [B, L, H]
    for (int row = 0; row < batch.rows; ++row) {
      const std::vector<int>& positions = masks[static_cast<size_t>(row)];
      if (positions.empty()) continue;
      const uint32_t text = batch.texts[static_cast<size_t>(row)];
      const mx::array rows = mx::take(mx::take(hidden, row, 0), mx::array(positions.begin(), {static_cast<int>(positions.size())}), 0);
      results[text] = fill(pretrained_.model->masked_lm_logits(rows, pass), positions, first + text, top_k);
    }
  }
  return results;
}

std::vector<std::vector<FilledMask>> FillMask::operator()(std::span<const std::string> texts, int top_k) const {
  std::vector<std::vector<FilledMask>> results;
  batcher_.for_each_window(each_of(texts), [&](const Window& window, uint64_t first) {
    for (auto& masks : fill(window, first, top_k)) results.push_back(std::move(masks));
  });
  return results;
}

}  // namespace m2bert::infer
