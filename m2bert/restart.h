#pragma once
// Starting the program anew with another environment: libraries and their settings are chosen before main() begins.

namespace m2bert {

// Whether restart() can work: on Linux, unless the program was run through a loader, whose options argv lacks, or has raised privileges.
bool can_restart();
// Replaces this process by the same program, with main's argv and the environment as it is now. Returns if that is not possible.
void restart(char** argv);

}  // namespace m2bert
