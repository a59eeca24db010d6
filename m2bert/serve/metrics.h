#pragma once
// Counters and histograms in Prometheus' text format (version 0.0.4). Thread-safe.
#include <array>
#include <map>
#include <mutex>
#include <string>
#include <utility>

namespace m2bert::serve {

class Metrics {
 public:
  // name: of a counter or histogram in the table of metrics.cpp, which has its help text; Error for another. labels: `route="/embed"`,
  // without braces, or empty.
  void count(const std::string& name, const std::string& labels = {}, double by = 1);
  void observe(const std::string& name, const std::string& labels, double value);
  // Sets a gauge, or a counter that is counted elsewhere.
  void set(const std::string& name, double value, const std::string& labels = {});

  std::string text() const;

  // A label's value with backslash, quote and newline escaped.
  static std::string label(const std::string& name, const std::string& value);

 private:
  static constexpr size_t buckets = 20;
  struct Histogram {
    std::array<uint64_t, buckets> counts{};
    uint64_t count = 0;
    double sum = 0;
  };
  using Key = std::pair<std::string, std::string>;  // name, labels

  mutable std::mutex mutex_;
  std::map<Key, double> values_;
  std::map<Key, Histogram> histograms_;
};

}  // namespace m2bert::serve
