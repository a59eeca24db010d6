#include "m2bert/eval/results.h"

#include <gtest/gtest.h>

#include <limits>

#include "m2bert/io/html_page.h"
#include "m2bert/io/json.h"
#include "tests/support/scratch.h"

namespace m2bert::eval {
namespace {

using test::has;

Results some_results() {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  Results results;
  results.title = "Retrieval";
  results.labels = {"data set", "system"};
  results.rows = {{{"Käse", "BM25"}, {{"nDCG@10", 0.5, metrics::Interval{0.25, 0.75}}, {"P@1", nan}}, {{"queries", 3}}},
                  {{"a|b", "model"}, {{"nDCG@10", 0.625}, {"MRR@10", 1}}}};
  results.settings = {{"model", "<mine>"}};
  results.notes = {"Some queries have no answer."};
  return results;
}

TEST(Results, TextTableIsAligned) {
  EXPECT_EQ(text_table(some_results()),
            "data set  system  nDCG@10                  P@1  MRR@10\n"
            "Käse      BM25    0.5000 [0.2500, 0.7500]  -    -\n"
            "a|b       model   0.6250                   -    1.0000\n"
            "Some queries have no answer.\n");
}

TEST(Results, MarkdownTable) {
  Results results = some_results();
  results.main_scores = {"MRR@10", "nDCG@10"};
  EXPECT_EQ(markdown_table(results),
            "| data set | system | MRR@10 | nDCG@10 |\n"
            "| --- | --- | ---: | ---: |\n"
            "| Käse | BM25 | - | 0.5000 [0.2500, 0.7500] |\n"
            "| a\\|b | model | 1.0000 | 0.6250 |\n"
            "\nSome queries have no answer.\n");
}

TEST(Results, Json) {
  EXPECT_EQ(io::to_json(results_json(some_results())),
            "{\"settings\":{\"model\":\"<mine>\"},\"results\":["
            "{\"data_set\":\"Käse\",\"system\":\"BM25\",\"queries\":3,\"scores\":{\"nDCG@10\":0.5,\"P@1\":null},"
            "\"intervals\":{\"nDCG@10\":[0.25,0.75]}},"
            "{\"data_set\":\"a|b\",\"system\":\"model\",\"scores\":{\"nDCG@10\":0.625,\"MRR@10\":1.0}}],"
            "\"notes\":[\"Some queries have no answer.\"]}");
}

TEST(Results, PageHasAllScoresAndSettings) {
  Results results = some_results();
  results.main_scores = {"MRR@10"};
  const test::Scratch scratch;
  const std::string page = results_page(results, "<p>more</p>");
  for (const char* part : {"<h1>Retrieval</h1>", "<td>0.5000 [0.2500, 0.7500]</td>", "<th>P@1</th>", "<p>more</p>", "&lt;mine&gt;"})
    EXPECT_PRED2(has, page, part);
  EXPECT_TRUE(io::is_page_of(scratch.put("page.html", page), kPageGenerator));
}

}  // namespace
}  // namespace m2bert::eval
