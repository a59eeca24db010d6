#include "m2bert/serve/metrics.h"

#include <gtest/gtest.h>

#include "tests/support/scratch.h"

namespace m2bert::serve {
namespace {

TEST(Metrics, TextFormat) {
  Metrics metrics;
  metrics.count("te_request_count", Metrics::label("route", "/embed"));
  metrics.count("te_request_count", Metrics::label("route", "/embed"), 2);
  metrics.set("te_queue_size", 7);
  metrics.observe("te_request_duration", Metrics::label("route", "/embed"), 0.0015);
  const std::string text = metrics.text();
  EXPECT_PRED2(test::has, text, "# TYPE te_request_count counter\nte_request_count{route=\"/embed\"} 3\n");
  EXPECT_PRED2(test::has, text, "# TYPE te_queue_size gauge\nte_queue_size 7\n");
  EXPECT_PRED2(test::has, text, "te_request_duration_bucket{route=\"/embed\",le=\"0.001\"} 0\n");
  EXPECT_PRED2(test::has, text, "te_request_duration_bucket{route=\"/embed\",le=\"0.002\"} 1\n");
  EXPECT_PRED2(test::has, text, "te_request_duration_bucket{route=\"/embed\",le=\"+Inf\"} 1\n");
  EXPECT_PRED2(test::has, text, "te_request_duration_sum{route=\"/embed\"} 0.0015\nte_request_duration_count{route=\"/embed\"} 1\n");
}

TEST(Metrics, LabelsAreEscaped) { EXPECT_EQ(Metrics::label("model", "a\"b\\c\nd"), "model=\"a\\\"b\\\\c\\nd\""); }

TEST(Metrics, AnUnknownNameIsAnError) {
  Metrics metrics;
  metrics.count("te_typo");
  EXPECT_PRED2(test::has, test::error_of([&] { (void)metrics.text(); }), "te_typo");
}

}  // namespace
}  // namespace m2bert::serve
