#pragma once
// Documents in the order in which they answer a query.
#include <functional>
#include <string>
#include <vector>

#include "m2bert/serve/call.h"

namespace m2bert::serve {

float cosine(std::span<const float> a, std::span<const float> b);

// ApiError: the model has labels, and not one alone.
void require_reranker(const ServedModel& model);

// The vectors of two lists of texts, each with settings of its own.
void embed_both(const CallPtr& call, const ServedModel& model, const std::vector<std::string>& first, const TextSettings& for_first,
                const std::vector<std::string>& second, const TextSettings& for_second, std::function<void(Vectors&&, Vectors&&)> then);

struct Ranked {
  size_t index = 0;
  float score = 0;
};

// The texts with their scores, the best first; equal ones in their order. A model with one label reads each pair, and its score is the
// label's (the logit with `raw`); one that embeds scores by the cosine, with its prompts "query" and "document" or "passage" where it has
// them.
void rerank(const CallPtr& call, const ServedModel& model, const std::string& query, const std::vector<std::string>& texts,
            const TextSettings& settings, bool raw, std::function<void(std::vector<Ranked>)> then);

// The field top_n: how many of the ranked texts the response has; absent: all.
size_t top_of(const io::Tree& body);

// Jina's and Cohere's form: {"query", "documents", "top_n", "return_documents"} -> {"id", "model", "results", "usage"}.
void rerank_documents(const CallPtr& call);

}  // namespace m2bert::serve
