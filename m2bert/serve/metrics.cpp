#include "m2bert/serve/metrics.h"

#include <algorithm>
#include <cstdint>
#include <sstream>
#include <string_view>

#include "m2bert/error.h"

namespace m2bert::serve {
namespace {

struct Family {
  std::string_view name, type, help;
};

// te_*: the names of text-embeddings-inference, for its dashboards and alerts.
constexpr Family families[] = {
    {"te_request_count", "counter", "Requests that reached a route, by route"},
    {"te_request_success", "counter", "Requests that were answered, by route"},
    {"te_request_failure", "counter", "Requests that failed, by kind of error"},
    {"te_request_duration", "histogram", "Seconds from a request's header to its response, by route"},
    {"te_request_tokenization_duration", "histogram", "Seconds of reading and tokenizing a request"},
    {"te_request_queue_duration", "histogram", "Seconds that a request waited in the queue"},
    {"te_request_inference_duration", "histogram", "Seconds from a request's first batch to the end of its last"},
    {"te_request_input_length", "histogram", "Tokens of a text, without padding"},
    {"te_embed_count", "counter", "Texts to embed"},
    {"te_embed_success", "counter", "Texts that were embedded"},
    {"te_predict_count", "counter", "Texts or pairs to classify"},
    {"te_predict_success", "counter", "Texts or pairs that were classified"},
    {"te_queue_size", "gauge", "Texts in the queue"},
    {"te_batch_next_size", "gauge", "Texts of the last batch"},
    {"te_batch_next_tokens", "gauge", "Tokens of the last batch, with padding"},
    {"m2bert_requests_total", "counter", "Responses by route and status"},
    {"m2bert_queue_tokens", "gauge", "Tokens in the queue, with padding"},
    {"m2bert_batches_total", "counter", "Batches computed"},
    {"m2bert_texts_total", "counter", "Texts computed"},
    {"m2bert_tokens_total", "counter", "Tokens computed, without padding"},
    {"m2bert_padded_tokens_total", "counter", "Tokens computed, with padding"},
    {"m2bert_truncated_texts_total", "counter", "Texts that were truncated to the model's maximum length, by model"},
    {"m2bert_not_finite_total", "counter", "Texts whose values were NaN or infinite"},
    {"m2bert_deadline_exceeded_total", "counter", "Requests that waited in the queue for longer than --queue-timeout"},
    {"m2bert_abandoned_total", "counter", "Texts that were not computed because the client had gone"},
    {"m2bert_yields_total", "counter", "Small batches that ran between the layers of a long one"},
    {"m2bert_busy_seconds_total", "counter", "Seconds in which the engine computed"},
    {"m2bert_tokens_per_second", "gauge", "Recent rate while computing, with padding"},
    {"m2bert_connections", "gauge", "Open connections"},
    {"m2bert_request_bytes", "gauge", "Bytes of the requests in progress"},
    {"m2bert_ready", "gauge", "1 while requests are accepted"},
    {"m2bert_resident_bytes", "gauge", "Resident memory of the process"},
};

const Family& family_of(const std::string& name) {
  const auto found = std::ranges::find(families, name, &Family::name);
  require(found != std::end(families), "[Metrics] no metric is called ", name);
  return *found;
}

// From half a millisecond, doubling; lengths from 1.
double upper_bound(const std::string& name, size_t bucket) {
  return (name == "te_request_input_length" ? 1.0 : 0.0005) * static_cast<double>(uint64_t{1} << bucket);
}

void append(std::ostringstream& out, const std::string& name, const std::string& labels, double value) {
  out << name;
  if (!labels.empty()) out << '{' << labels << '}';
  out << ' ' << value << '\n';
}

}  // namespace

void Metrics::count(const std::string& name, const std::string& labels, double by) {
  const std::lock_guard lock(mutex_);
  values_[{name, labels}] += by;
}

void Metrics::set(const std::string& name, double value, const std::string& labels) {
  const std::lock_guard lock(mutex_);
  values_[{name, labels}] = value;
}

void Metrics::observe(const std::string& name, const std::string& labels, double value) {
  const std::lock_guard lock(mutex_);
  Histogram& histogram = histograms_[{name, labels}];
  for (size_t i = 0; i < buckets; ++i) histogram.counts[i] += value <= upper_bound(name, i) ? 1 : 0;
  ++histogram.count;
  histogram.sum += value;
}

std::string Metrics::label(const std::string& name, const std::string& value) {
  std::string text = name + "=\"";
  for (const char c : value) {
    if (c == '\n') {
      text += "\\n";
      continue;
    }
    if (c == '"' || c == '\\') text += '\\';
    text += c;
  }
  return text + "\"";
}

std::string Metrics::text() const {
  const std::lock_guard lock(mutex_);
  std::ostringstream out;
  out.precision(12);
  std::string last;
  const auto head = [&](const std::string& name) {
    if (name == last) return;
    const Family& family = family_of(name);
    out << "# HELP " << name << ' ' << family.help << "\n# TYPE " << name << ' ' << family.type << '\n';
    last = name;
  };
  for (const auto& [key, value] : values_) {
    head(key.first);
    append(out, key.first, key.second, value);
  }
  for (const auto& [key, histogram] : histograms_) {
    head(key.first);
    const std::string comma = key.second.empty() ? "" : ",";
    for (size_t i = 0; i < buckets; ++i) {
      std::ostringstream bound;
      bound << upper_bound(key.first, i);
      append(out, key.first + "_bucket", key.second + comma + "le=\"" + bound.str() + "\"", static_cast<double>(histogram.counts[i]));
    }
    append(out, key.first + "_bucket", key.second + comma + "le=\"+Inf\"", static_cast<double>(histogram.count));
    append(out, key.first + "_sum", key.second, histogram.sum);
    append(out, key.first + "_count", key.second, static_cast<double>(histogram.count));
  }
  return out.str();
}

}  // namespace m2bert::serve
