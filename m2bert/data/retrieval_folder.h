#pragma once
// Reads retrieval data from the folders of benchmarks, whose files refer to one another by ids.
#include <filesystem>
#include <string>

#include "m2bert/data/retrieval_data.h"

namespace m2bert::data {

enum class RetrievalLayout {
  beir,     // corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv (read_beir)
  loco,     // queries.jsonl, documents.jsonl (find_loco)
  msmarco,  // collection.tsv (pid, passage), queries.SPLIT.tsv or queries.tsv (qid, query), and one of
            //   qidpidtriples*.tsv (qid, pid of the positive, pid of the negative)
            //   *hard-negatives*.jsonl (qid, pos: [pid], neg: [pid] or {system: [pid]})
            //   qrels.SPLIT.tsv (qid, 0, pid, 1)
};

// The layout of a folder, by its files. Error, which lists the layouts, if it has none of them.
RetrievalLayout layout_of(const std::filesystem::path& folder);

struct RetrievalFolderOptions {
  std::string split = "train";
  std::filesystem::path triples;  // MS MARCO: the file that says what belongs together; empty: the only one in the folder
  bool all_passages = true;       // false: passages that no sample has are not kept
};

// Adds a sample for each pair of a query and a passage that is relevant to it (a score above 0), with the negatives that the files give.
// Titles are put in front of texts, as in BEIR. Any file may be compressed (.gz, .zst). Errors name file, line and field: an id that the
// corpus or the queries lack, or have twice; a query or passage without text; a score that is no number; no relevant passage at all.
void read_retrieval_folder(const std::filesystem::path& folder, const RetrievalFolderOptions& options, RetrievalData& data);

}  // namespace m2bert::data
