#pragma once
// The processes of a command that several share: how they join, and who prints.
#include <exception>
#include <functional>
#include <string>

#include "cli/launch.h"
#include "m2bert/train/distributed.h"

namespace m2bert::cli {

// Joins the processes that a launcher started (see train/distributed.h). Only the first one prints notes and progress from then on.
// timeout: see train::join_processes.
train::Processes join_process_group(double timeout);

// A launcher reports lost processes, but does not know which one another waits for.
template <class Body>
auto without_message_of_loss(Body&& body) {
  try {
    return body();
  } catch (const train::ProcessTimeout&) {
    throw;
  } catch (const train::ProcessLost&) {
    if (is_launched()) throw QuietExit{kProcessLost};
    throw;
  }
}

// Calls body in each process. If it throws in some of them, all end, and only one tells its error. Every process must call it.
void all_or_none(const train::Processes& processes, const std::function<void()>& body);

}  // namespace m2bert::cli
