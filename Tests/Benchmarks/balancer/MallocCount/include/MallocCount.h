// Preloaded into a process, counts its allocations in the first 8 bytes of the file that MALLOC_COUNT_FILE names.
