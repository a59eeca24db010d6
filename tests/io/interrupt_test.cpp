#include "m2bert/io/interrupt.h"

#include <sys/wait.h>

#include <csignal>

#include "m2bert/io/file.h"
#include "m2bert/io/host_interrupt.h"
#include "tests/support/scratch.h"

namespace m2bert::io {
namespace {

using test::Scratch;

// Runs in a child process, because signals affect the whole process. Returns its exit code, or 1000 + the signal that ended it.
template <class Body>
int in_child(Body body) {
  const pid_t child = ::fork();
  if (child == 0) {
    install_interrupt_handlers();
    body();
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

TEST(Interrupt, TheFirstSignalAsksToStop) {
  const int code = in_child([] {
    if (interrupted()) ::_exit(1);
    throw_if_interrupted();
    ::raise(SIGINT);
    if (!interrupted() || interrupt_signal() != SIGINT) ::_exit(2);
    try {
      throw_if_interrupted();
    } catch (const Error&) {
      ::_exit(42);
    }
  });
  EXPECT_EQ(code, 42);
}

TEST(Interrupt, OneSignalMayComeTwice) {
  const int code = in_child([] {
    for (int signal : {SIGHUP, SIGTERM, SIGTERM}) ::raise(signal);
    ::_exit(interrupt_signal() == SIGHUP ? 42 : 1);
  });
  EXPECT_EQ(code, 42);
}

TEST(Interrupt, TheHostOfTheWorkMayAskAndBeginAgain) {
  interrupt(SIGTERM);
  interrupt(SIGINT);
  EXPECT_TRUE(interrupted());
  EXPECT_EQ(interrupt_signal(), SIGTERM);
  clear_interrupt();
  EXPECT_FALSE(interrupted());
}

TEST(Interrupt, WhatNohupIgnoresStaysIgnored) {
  const int code = in_child([] {
    ::signal(SIGHUP, SIG_IGN);
    install_interrupt_handlers();
    ::raise(SIGHUP);
    ::_exit(interrupted() ? 1 : 42);
  });
  EXPECT_EQ(code, 42);
}

TEST(Interrupt, TheSecondSignalEndsAndLeavesNoTemporary) {
  const Scratch scratch;
  const int code = in_child([&] {
    AtomicFile file(scratch / "out");
    file.write(std::string(2 << 20, 'x'));
    ::raise(SIGTERM);
    if (scratch.files() != 1) ::_exit(3);
    ::raise(SIGINT);
    ::_exit(4);
  });
  EXPECT_EQ(code, 128 + SIGINT);
  EXPECT_EQ(scratch.files(), 0u);
}

}  // namespace
}  // namespace m2bert::io
