// The whole program that a child executes just before the container's own: a complete ELF file of a
// few hundred bytes, laid out by hand, that the floor writes into a sealed memfd. Whoever reopens
// /proc/PID/exe before the last exec finds this file and never the host's binary.
//
// Its argv is [path, argument 0, argument 1, ...]: it executes path with the rest.
  .section .rodata
  .balign 16
  .globl floor_stub
  .globl floor_stub_end
  .set base, 0x400000
floor_stub:
  .byte 0x7f, 'E', 'L', 'F', 2, 1, 1, 0
  .quad 0
  .short 2                                  // ET_EXEC
  .short 62                                 // EM_X86_64
  .long 1
  .quad base + (code - floor_stub)          // entry
  .quad program_header - floor_stub
  .quad 0                                   // no sections
  .long 0
  .short 64, 56, 1, 0, 0, 0
program_header:
  .long 1                                   // PT_LOAD
  .long 5                                   // readable and executable
  .quad 0
  .quad base
  .quad base
  .quad floor_stub_end - floor_stub
  .quad floor_stub_end - floor_stub
  .quad 0x1000
code:
  mov (%rsp), %rcx                          // argc
  mov 8(%rsp), %rdi                         // the path
  lea 16(%rsp), %rsi                        // its argv
  lea 16(%rsp, %rcx, 8), %rdx               // its environment
  mov $59, %eax                             // execve
  syscall
  mov $127, %edi
  mov $231, %eax                            // exit_group
  syscall
floor_stub_end:

  .section .note.GNU-stack, "", @progbits
