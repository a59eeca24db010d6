#pragma once
// Documents in the order in which they answer a query.
#include <functional>
#include <string>
#include <vector>

#include "m2bert/serve/call.h"

namespace m2bert::serve {

float cosine(std::span<const float> a, std::span<const float> b);

struct Ranked {
  size_t index = 0;
  float score = 0;
};

// The texts with their scores, the best first; equal ones in their order. A model with one label reads each pair, and its score is the
// label's (the logit with `raw`); one that embeds scores by the cosine, with its prompts "query" and "document" or "passage" where it has
// them.
void rerank(const CallPtr& call, const ServedModel& model, const std::string& query, const std::vector<std::string>& texts,
            const TextSettings& settings, bool raw, std::function<void(std::vector<Ranked>)> then);

// Jina's and Cohere's form: {"query", "documents", "top_n", "return_documents"} -> {"id", "model", "results", "usage"}.
void rerank_documents(const CallPtr& call);

}  // namespace m2bert::serve
