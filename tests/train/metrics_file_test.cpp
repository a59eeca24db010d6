#include "m2bert/train/metrics_file.h"

#include <cmath>

#include "tests/support/scratch.h"

namespace m2bert::train {
namespace {

using test::error_of;
using test::has;
using test::Scratch;

Record record(int64_t batch, double loss) {
  Record r{{batch, 0, 8 * batch, 256 * batch}, {}};
  r.add("loss/train/total", loss);
  return r;
}

TEST(MetricsFile, ReadsBackWhatItWrote) {
  const Scratch scratch;
  MetricsFile file(scratch / "m.jsonl", 0);
  file.write(record(1, 6.5));
  file.write(record(2, NAN));
  const auto records = read_metrics(scratch / "m.jsonl");
  ASSERT_EQ(records.size(), 2U);
  EXPECT_EQ(records[0].time, (optim::Timestamp{1, 0, 8, 256}));
  EXPECT_EQ(*records[0].find("loss/train/total"), 6.5);
  EXPECT_EQ(records[1].find("loss/train/total"), nullptr);  // NaN is null in the file
}

TEST(MetricsFile, CutsWhatCameAfterTheCheckpoint) {
  const Scratch scratch;
  uint64_t size = 0;
  {
    MetricsFile file(scratch / "m.jsonl", 0);
    file.write(record(1, 6));
    size = file.size();
    file.write(record(2, 5));
  }
  MetricsFile file(scratch / "m.jsonl", size);
  file.write(record(2, 4));
  const auto records = read_metrics(scratch / "m.jsonl");
  ASSERT_EQ(records.size(), 2U);
  EXPECT_EQ(*records[1].find("loss/train/total"), 4);
  EXPECT_NO_THROW(MetricsFile(scratch / "gone.jsonl", 1000));
}

TEST(MetricsFile, LeavesAHalfLineOut) {
  const Scratch scratch;
  scratch.put("m.jsonl", metrics_line(record(1, 6)) + "{\"batch\":2,\"ep");
  EXPECT_EQ(read_metrics(scratch / "m.jsonl").size(), 1U);
}

TEST(MetricsFile, NamesTheLineThatIsWrong) {
  const Scratch scratch;
  for (const char* line : {"no json", "[1]", "{\"batch\":-1}", "{\"loss\":\"high\"}", "{\"batch\":1e300}"}) {
    scratch.put("m.jsonl", metrics_line(record(1, 6)) + line + "\n");
    EXPECT_PRED2(has, error_of([&] { read_metrics(scratch / "m.jsonl"); }), "m.jsonl:2") << line;
  }
}

}  // namespace
}  // namespace m2bert::train
