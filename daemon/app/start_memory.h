// Memory that only the start needed, given back.
#pragma once

namespace berth::app {

// Returns free heap pages to the kernel, and unmaps the pages of program and library code: what
// serving needs of it is mapped again, from the page cache, when it runs next (some hundred
// microseconds altogether); what only the start needed (the loader, static initialisers, the
// command line, recovery) stays away. Without it, a third of the daemon's resident memory is code
// that never runs again. Threads: any; others may run meanwhile. Source: man 2 madvise
// (MADV_DONTNEED on a file mapping), man 3 dl_iterate_phdr.
void GiveBackStartMemory();

}  // namespace berth::app
