// What bpf/ was compiled to, as data (loader.cc).
  .section .rodata.nacelle_bpf_objects, "a", @progbits
  .balign 8
  .globl nacelle_bpf_link_begin, nacelle_bpf_link_end
nacelle_bpf_link_begin:
  .incbin "link.bpf.o"
nacelle_bpf_link_end:
  .balign 8
  .globl nacelle_bpf_group_begin, nacelle_bpf_group_end
nacelle_bpf_group_begin:
  .incbin "group.bpf.o"
nacelle_bpf_group_end:
  .section .note.GNU-stack, "", @progbits
