// Metrics of a run, and the page with their charts.
#include <cstdlib>
#include <string>
#include <string_view>

#include "m2bert/error.h"
#include "m2bert/train/metrics_file.h"
#include "m2bert/train/report.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  using namespace m2bert;
  try {
    const auto records = train::parse_metrics({reinterpret_cast<const char*>(data), size}, "fuzz");
    if (records.empty()) return 0;
    const std::string page = train::report_html({{"run", records}}, {});
    for (const char* wrong : {"<script", "nan\"", "inf\"", "nan,", "inf,", "nan ", "inf "}) {
      if (page.find(wrong) != std::string::npos) std::abort();
    }
  } catch (const Error&) {
  }
  return 0;
}
