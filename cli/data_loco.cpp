// m2bert data loco: folders for eval loco, from the files of LoCo or of its sources.
#include "cli/data_loco.h"

#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>
#include <memory>

#include "cli/output_path.h"
#include "cli/text_option.h"
#include "m2bert/data/loco.h"
#include "m2bert/error.h"
#include "m2bert/io/atomic_folder.h"
#include "m2bert/io/file.h"
#include "m2bert/io/interrupt.h"
#include "m2bert/io/json.h"
#include "m2bert/io/log.h"
#include "m2bert/io/progress.h"
#include "m2bert/io/utf8.h"

namespace m2bert::cli {
namespace {

struct LocoCommand {
  std::string out, queries, documents, document_field, query_field;
  std::vector<std::string> pairs;  // NAME=FILE
  bool skip_bad = false, overwrite = false;
};

std::pair<std::string, std::string> name_and_file(const std::string& pair) {
  const size_t at = pair.find('=');
  if (at == std::string::npos || at == 0 || at + 1 == pair.size()) throw UsageError("--pairs wants NAME=FILE, got '" + pair + "'");
  if (pair.substr(0, at).find('/') != std::string::npos)
    throw UsageError("--pairs " + pair + ": the name is that of a folder, without '/'");
  return {pair.substr(0, at), pair.substr(at + 1)};
}

std::vector<data::RetrievalSet> sets_of(const LocoCommand& command) {
  std::vector<data::RetrievalSet> sets;
  if (!command.queries.empty()) sets = data::read_loco(command.queries, command.documents, command.skip_bad);
  for (const std::string& pair : command.pairs) {
    const auto [name, file] = name_and_file(pair);
    sets.push_back(data::read_loco_pairs(data::loco_pairs(name, file, command.document_field, command.query_field), command.skip_bad));
  }
  for (size_t i = 0; i < sets.size(); ++i) {
    const std::string& name = sets[i].name;
    require(!name.empty() && name.find('/') == std::string::npos && !name.starts_with('.'), "the data set ",
            io::printable("\"" + name + "\""), " has no name that a folder could have");
    for (size_t j = 0; j < i; ++j) require(sets[j].name != name, "there are two data sets with the name ", name);
  }
  return sets;
}

void check_command(const LocoCommand& command) {
  if (command.queries.empty() != command.documents.empty()) throw UsageError("--queries and --documents go together");
  if (command.queries.empty() && command.pairs.empty())
    throw UsageError("say what to read: --queries and --documents, or --pairs NAME=FILE");
  if (command.pairs.empty() && !(command.document_field.empty() && command.query_field.empty()))
    throw UsageError("--document-field and --query-field go with --pairs");
  require_free(command.out, command.overwrite);
  std::vector<std::string> read = {command.queries, command.documents};
  for (const std::string& pair : command.pairs) read.push_back(name_and_file(pair).second);
  for (const std::string& file : read)
    require(file.empty() || !io::is_inside(file, command.out), "the output ", command.out, " holds ", file,
            ", which is read; name another one");
}

io::Tree written_tree(const std::string& name, const data::WrittenSet& written) {
  return {{"name", name},
          {"documents", written.documents},
          {"queries", written.queries},
          {"judgements", written.judgements},
          {"skipped", written.skipped.count}};
}

io::Tree write_sets(const LocoCommand& command) {
  io::AtomicFolder folder(command.out);
  io::Tree list = io::Tree::list();
  for (const data::RetrievalSet& set : sets_of(command)) {
    io::throw_if_interrupted();
    const auto corpus = folder.file(std::filesystem::path(set.name) / "corpus.jsonl");
    const data::WrittenSet written = data::write_beir(set, corpus.parent_path());
    report_skipped(written.skipped.count, written.skipped.first);
    list.push_back(written_tree(set.name, written));
  }
  folder.commit();
  return list;
}

void run_loco(const LocoCommand& command, const Globals& globals) {
  check_command(command);
  io::install_interrupt_handlers();
  io::Tree sets;
  try {
    sets = write_sets(command);
  } catch (const data::BadRecord& e) {
    fail(e.what(), skip_bad_remedy);
  }
  if (globals.json) {
    std::cout << io::to_json({{"out", command.out}, {"data_sets", sets}}) << "\n";
    return;
  }
  for (const io::Tree& set : sets.items())
    std::cout << (std::filesystem::path(command.out) / set["name"].string()).string() << ": "
              << io::show_count(set["documents"].as<uint64_t>()) << " documents, " << io::show_count(set["queries"].as<uint64_t>())
              << " queries\n";
}

}  // namespace

Run add_data_loco(CLI::App& data, const Globals& globals) {
  CLI::App* app = data.add_subcommand("loco", "Make folders for eval loco from LoCo's files, or from those of its sources");
  const auto command = std::make_shared<LocoCommand>();
  app->add_option("out", command->out, "Folder to make, with a folder in BEIR's layout for each data set")->required()->type_name("DIR");
  app->add_option("--queries", command->queries, "LoCoV1-Queries, JSON lines or Parquet: dataset, qid, query, answer_pids")
      ->type_name("FILE");
  app->add_option("--documents", command->documents, "LoCoV1-Documents, JSON lines or Parquet: dataset, pid, passage")->type_name("FILE");
  app->add_option("--pairs", command->pairs,
                  "A source with a document and its query a record, such as qmsum=qmsum.jsonl; may be given several times.\n"
                  "Known are summ_screen_fd, gov_report, qmsum, qasper_title, qasper_abstract, multifieldqa_en, 2wikimqa,\n"
                  "passage_retrieval_en, courtlistener_HTML, courtlistener_Plain_Text, stackoverflow")
      ->type_name("NAME=FILE")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false);
  app->add_option("--document-field", command->document_field, "Field of the documents of --pairs (default: the source's)")
      ->type_name("NAME");
  app->add_option("--query-field", command->query_field, "Field of the queries of --pairs (default: the source's)")->type_name("NAME");
  app->add_flag("--skip-bad", command->skip_bad, "Pass over lines that cannot be used, and count them");
  app->add_flag("--overwrite", command->overwrite, "Replace the folder");
  app->footer("\nExample:\n  m2bert data loco loco --queries LoCoV1-Queries.jsonl --documents LoCoV1-Documents.jsonl\n");
  return [command, &globals] { run_loco(*command, globals); };
}

}  // namespace m2bert::cli
