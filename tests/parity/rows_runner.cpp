// rows_runner FILE: prints the records of a table, JSON lines or a Parquet file as JSON lines.
#include <iostream>

#include "m2bert/data/source.h"
#include "m2bert/error.h"
#include "m2bert/io/json.h"

int main(int argc, char** argv) {
  try {
    m2bert::require(argc == 2, "usage: rows_runner FILE");
    const auto source = m2bert::data::open_source(argv[1], {.records = true});
    for (std::string none; source->next(none);) std::cout << m2bert::io::to_json(source->kept()) << "\n";
  } catch (const m2bert::Error& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
}
