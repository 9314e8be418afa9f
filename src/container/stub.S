// The last program before the container's own: a complete ELF executable of a few hundred bytes,
// kept as data. It is put into a sealed memfd and executed with the container's credentials, so that
// whatever the container executes next is started by *it*: /proc/self/exe, /proc/PID/exe and a
// script that says `#!/proc/self/exe` lead to these sealed bytes and never to the host's binary.
//
//   argv[0]   the program to execute
//   argv[1]   "nacelle:" WWWW RRRR M: two descriptors of four letters a..p (hexadecimal digits 0..15)
//             W: wait for one byte here before executing ("pppp": do not wait)
//             R: write here why an execve failed: its errno with the highest bit set
//             M: "d" execute as this process; "f" as a new one, a sibling in the pid namespace that
//                was entered for children, whose number is written to R; "t" as "f", and it makes
//                standard input its controlling terminal
//   argv[2..] the arguments of the program
//
// The new process of "f" is why nothing of the host's can be seen from inside a running container
// that someone joins: the first task of ours in its pid namespace has only this file for memory and
// executable, the container's root, and the container's credentials (CVE-2016-9962, and what
// CAP_SYS_PTRACE makes of it). What comes over R is therefore checked before it is believed.
//
// Both descriptors are made close-on-exec first, so a reader of R sees the end of file when the
// program runs, and four bytes of errno when it does not. Where a seccomp filter forbids fcntl they
// are closed instead. A start with any other argv[1], such as from a script that names itself as its
// interpreter, ends with status 126.

#if !defined(__x86_64__)
#error "the stub knows x86-64 only so far"
#endif

  .section .rodata.nacelle_stub, "a", @progbits
  .globl nacelle_stub_begin, nacelle_stub_end
  .hidden nacelle_stub_begin, nacelle_stub_end
  .balign 16

  .set load_address, 0x400000
  .set no_descriptor, 0xffff
  .set sys_read, 0
  .set sys_write, 1
  .set sys_close, 3
  .set sys_execve, 59
  .set sys_ioctl, 16
  .set sys_clone, 56
  .set sys_fcntl, 72
  .set sys_setsid, 112
  .set sys_exit_group, 231

nacelle_stub_begin:
  // ELF64 header
  .byte 0x7f, 'E', 'L', 'F', 2, 1, 1, 0
  .quad 0
  .short 2                                        // ET_EXEC
  .short 62                                       // EM_X86_64
  .long 1
  .quad load_address + (entry - nacelle_stub_begin)
  .quad program_headers - nacelle_stub_begin
  .quad 0
  .long 0
  .short 64, 56, 2, 0, 0, 0
program_headers:
  .long 1, 5                                      // PT_LOAD, R+X: the whole file
  .quad 0, load_address, load_address
  .quad nacelle_stub_end - nacelle_stub_begin, nacelle_stub_end - nacelle_stub_begin, 0x1000
  .long 0x6474e551, 6                             // PT_GNU_STACK, RW: no executable stack
  .quad 0, 0, 0, 0, 0, 16

entry:
  movq %rsp, %rbx                                 // argc, argv[0], ...
  cmpq $3, (%rbx)
  jb bad_call
  movq 16(%rbx), %rsi                             // argv[1]
  movabsq $0x3a656c6c6563616e, %rax               // "nacelle:"
  cmpq %rax, (%rsi)
  jne bad_call
  addq $8, %rsi
  call read_descriptor
  movl %eax, %r12d                                // W
  call read_descriptor
  movl %eax, %r13d                                // R
  movzbl (%rsi), %ebp                             // M
  cmpb $0, 1(%rsi)
  jne bad_call
  cmpb $'d', %bpl
  je descriptors
  cmpb $'f', %bpl
  je fork
  cmpb $'t', %bpl
  jne bad_call

fork:
  movl $sys_clone, %eax
  movl $0x8011, %edi                              // CLONE_PARENT | SIGCHLD
  xorl %esi, %esi
  xorl %edx, %edx
  xorl %r10d, %r10d
  xorl %r8d, %r8d
  syscall
  testq %rax, %rax
  js failed
  jz sibling
  movl %eax, -256(%rsp)                           // its number, as we and the runtime see it
  movl $sys_write, %eax
  movl %r13d, %edi
  leaq -256(%rsp), %rsi
  movl $4, %edx
  syscall
  xorl %edi, %edi
  jmp leave

sibling:
  movl $sys_setsid, %eax
  syscall
  cmpb $'t', %bpl
  jne descriptors
  movl $sys_ioctl, %eax
  xorl %edi, %edi
  movl $0x540e, %esi                              // TIOCSCTTY
  xorl %edx, %edx
  syscall

descriptors:
  movl %r13d, %edi
  call close_on_exec
  cmpl $no_descriptor, %r12d
  je execute
  movl %r12d, %edi
  call close_on_exec
wait:
  xorl %eax, %eax                                 // read(W, below the stack, 1)
  movl %r12d, %edi
  leaq -256(%rsp), %rsi
  movl $1, %edx
  syscall
  cmpq $-4, %rax                                  // EINTR
  je wait
  cmpq $1, %rax
  jne failed                                      // the end of the file, or not allowed to read

execute:
  movl $sys_execve, %eax
  movq 8(%rbx), %rdi
  leaq 24(%rbx), %rsi                             // &argv[2]
  movq (%rbx), %rcx
  leaq 16(%rbx,%rcx,8), %rdx                      // after argv[argc] = NULL
  syscall

failed:                                           // %rax is -errno
  negl %eax
  movl %eax, %r14d
  orl $0x80000000, %eax
  movl %eax, -256(%rsp)
  movl $sys_write, %eax
  movl %r13d, %edi
  leaq -256(%rsp), %rsi
  movl $4, %edx
  syscall
  movl $127, %edi                                 // as shells: not found 127, not executable 126
  cmpl $2, %r14d                                  // ENOENT
  je leave
bad_call:
  movl $126, %edi
leave:
  movl $sys_exit_group, %eax
  syscall
  hlt

// Four letters at %rsi -> %eax; advances %rsi.
read_descriptor:
  xorl %eax, %eax
  movl $4, %ecx
1:
  shll $4, %eax
  movzbl (%rsi), %edx
  subl $'a', %edx
  cmpl $15, %edx
  ja bad_call
  orl %edx, %eax
  incq %rsi
  decl %ecx
  jnz 1b
  ret

close_on_exec:                                    // %edi
  movl $sys_fcntl, %eax
  movl $2, %esi                                   // F_SETFD
  movl $1, %edx                                   // FD_CLOEXEC
  movl %edi, %r15d
  syscall
  testq %rax, %rax
  jz 1f
  cmpl %r12d, %r15d                               // W is needed for the wait; R is given up
  je 1f
  movl $sys_close, %eax
  movl %r15d, %edi
  syscall
1:
  ret
nacelle_stub_end:

  .section .note.GNU-stack, "", @progbits
