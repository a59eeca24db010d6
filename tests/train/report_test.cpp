#include "m2bert/train/report.h"

#include <sys/stat.h>

#include "m2bert/train/metrics_file.h"
#include "tests/support/scratch.h"

namespace m2bert::train {
namespace {

using test::error_of;
using test::has;
using test::Scratch;

ReportedRun run(const std::string& name, int batches) {
  ReportedRun run{name, {}};
  for (int i = 1; i <= batches; ++i) {
    Record record{{i, 0, 8 * i, 256 * i}, {}};
    record.add("loss/train/total", 8.0 / i);
    if (i % 2 == 0) record.add("metrics/eval/MaskedAccuracy", 0.1 * i);
    run.records.push_back(record);
  }
  return run;
}

size_t count(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

TEST(Report, HasAChartForEachMetricAndALineForEachRun) {
  const auto html = report_html({run("one", 5), run("two", 3)}, {});
  EXPECT_EQ(count(html, "<svg"), 2U);
  EXPECT_EQ(count(html, "<polyline"), 3U);  // the second run has one evaluation: a dot
  EXPECT_EQ(count(html, "<circle"), 1U);
  EXPECT_PRED2(has, html, "<td>1.6</td>");
  for (const char* outside : {"http:", "https:", "<script", "src=", "@import", "url("}) EXPECT_EQ(count(html, outside), 0U) << outside;
}

TEST(Report, IsRecognisedInAFileOnly) {
  const Scratch scratch;
  EXPECT_TRUE(is_report(scratch.put("page.html", report_html({run("one", 5)}, {}))));
  EXPECT_FALSE(is_report(scratch.put("other.html", "<!doctype html>\n<html></html>")));
  EXPECT_FALSE(is_report(scratch / "none.html"));
  ASSERT_EQ(::mkfifo((scratch / "pipe").c_str(), 0600), 0);
  EXPECT_FALSE(is_report(scratch / "pipe"));  // at once: nobody writes into it
}

TEST(Report, CountsAlongSamplesOrTokens) {
  EXPECT_PRED2(has, report_html({run("one", 5)}, {optim::TimeUnit::token, 1000}), ">tokens<");
  EXPECT_PRED2(has, report_html({run("one", 5)}, {optim::TimeUnit::sample, 1000}), ">samples<");
}

TEST(Report, NamesAreTextAndNothingElse) {
  auto evil = run("<script>alert(1)</script>", 3);
  evil.records[0].add("\"><img src=x>", 1);
  evil.records[1].add("\"><img src=x>", 2);
  const auto html = report_html({evil}, {});
  EXPECT_EQ(count(html, "<script"), 0U);
  EXPECT_EQ(count(html, "<img"), 0U);
}

TEST(Report, ReadsFoldersAndFiles) {
  const Scratch scratch;
  std::filesystem::create_directories(scratch / "run");
  EXPECT_PRED2(has, error_of([&] { read_run(scratch / "run"); }), "holds no metrics.jsonl");
  scratch.put("run/metrics.jsonl", "");
  EXPECT_PRED2(has, error_of([&] { read_run(scratch / "run"); }), "holds no record yet");
  scratch.put("run/metrics.jsonl", metrics_line(run("x", 1).records[0]));
  EXPECT_EQ(read_run(scratch / "run").name, "run");
  scratch.put("bad.jsonl", metrics_line(run("x", 1).records[0]) + "{]\n");
  EXPECT_PRED2(has, error_of([&] { read_run(scratch / "bad.jsonl"); }), "bad.jsonl:2:2: ");
  EXPECT_EQ(read_run(scratch / "run/").name, "run");
  EXPECT_EQ(read_run(scratch / "run/metrics.jsonl").name, "run");
  EXPECT_PRED2(has, error_of([&] { read_run(scratch / "none"); }), "no such file");
}

}  // namespace
}  // namespace m2bert::train
