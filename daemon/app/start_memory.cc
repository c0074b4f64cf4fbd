#include "daemon/app/start_memory.h"

#include <elf.h>
#include <link.h>
#include <malloc.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

namespace berth::app {

namespace {

int UnmapCode(dl_phdr_info* info, size_t, void*) {
  // The kernel's own page of code is no file.
  const auto vdso = reinterpret_cast<const ElfW(Ehdr)*>(::getauxval(AT_SYSINFO_EHDR));
  if (vdso != nullptr && info->dlpi_addr == reinterpret_cast<ElfW(Addr)>(vdso)) {
    return 0;
  }
  const uintptr_t page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr)& segment = info->dlpi_phdr[i];
    // Never writable means: still as in the file, so nothing is lost. Relocated data is in a
    // writable segment, even where it is read-only by now.
    if (segment.p_type != PT_LOAD || (segment.p_flags & PF_W) != 0) {
      continue;
    }
    const uintptr_t begin = (info->dlpi_addr + segment.p_vaddr) & ~(page - 1);
    const uintptr_t end =
        (info->dlpi_addr + segment.p_vaddr + segment.p_memsz + page - 1) & ~(page - 1);
    // An error only means that the pages stay.
    ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
  }
  return 0;
}

}  // namespace

void GiveBackStartMemory() {
  ::malloc_trim(0);
  ::dl_iterate_phdr(UnmapCode, nullptr);
}

}  // namespace berth::app
