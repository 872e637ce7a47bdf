/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * guest_sector: a load that needs no more of a guest than its firmware. The disk's first sectors:
 * real mode, and the BIOS's extended read and write (INT 13h, 42h and 43h).
 *
 * Writes sequence-numbered, checksummed 4 KiB blocks all over the disk's first 64 MiB, 192 of them
 * in the first MiB, and reads back what it wrote before. What each block must hold is remembered in
 * memory, which migrates with the machine: a disk that went back in time shows at the next pass.
 * More blocks come into use with each pass, so that image metadata has to grow. Reports on the
 * serial port after each pass and each error, as tests/qemu/guest.c does:
 *
 *     guest ok N stale N wrong N error N seq N pass N
 */
        .code16
        .set    PACKET_BYTES, 16
        .set    OWN_SECTORS, 4
        .set    SECTOR_BYTES, 512

        .set    BLOCK_SECTORS, 8
        .set    BLOCK_WORDS, 1024        /* of 32 bits */
        .set    BLOCKS, 1024
        .set    FIRST_BLOCKS, 256        /* in use from the start */
        .set    MORE_BLOCKS, 16          /* with each pass */
        .set    WRITE_STEP, 97
        .set    NEAR_BLOCKS, 192         /* one after the other; behind them one in each 64 KiB */

        .set    BUFFER_SEGMENT, 0x1000
        .set    EXPECTED_SEGMENT, 0x2000 /* the sequence number of each block; 0: never written */

        .set    MAGIC, 0x6b6f6d67
        .set    AT_NUMBER, 4
        .set    AT_SEQUENCE, 8
        .set    AT_CHECKSUM, (BLOCK_WORDS - 1) * 4
        .set    GOLDEN, 0x9e3779b9

        .set    SERIAL_DATA, 0x3f8
        .set    SERIAL_STATUS, 0x3fd
        .set    SERIAL_CAN_SEND, 0x20

        .globl  start
start:
        ljmp    $0, $1f
1:      xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %ss
        movw    $start, %sp
        cld
        movb    %dl, drive
        movb    $0x42, %ah              /* the rest of this program */
        call    transfer
        jc      start
        jmp     main

/* Reads (%ah 42h) or writes (43h) what the packet says; carry: failed. */
transfer:
        movb    drive, %dl
        movw    $packet, %si
        int     $0x13
        ret

drive:  .byte   0
        .balign 4
packet: .byte   PACKET_BYTES, 0
sectors:
        .word   OWN_SECTORS - 1
offset: .word   start + SECTOR_BYTES
segment:
        .word   0
lba:    .long   1, 0

        .org    SECTOR_BYTES - 2
        .word   0xaa55

/* %es is the buffer, %fs what is expected. */
main:
        movw    $EXPECTED_SEGMENT, %ax
        movw    %ax, %es
        movw    %ax, %fs
        xorw    %di, %di
        xorl    %eax, %eax
        movw    $BLOCKS, %cx
        rep stosl
        movw    $BUFFER_SEGMENT, %ax
        movw    %ax, %es
        movw    %ax, segment
        movw    $0, offset
        movw    $BLOCK_SECTORS, sectors
1:      call    write_next
        call    check_next
        call    check_next
        jmp     1b

/* A failed write leaves either version: the block is written again until it succeeds. */
write_next:
        movl    next_write, %ebx
        addl    $WRITE_STEP, %ebx
        cmpl    blocks, %ebx
        jb      1f
        subl    blocks, %ebx
1:      movl    %ebx, next_write
        incl    sequence
2:      call    fill
        call    locate
        movb    $0x43, %ah
        call    transfer
        jc      3f
        movl    sequence, %eax
        movl    %eax, %fs:(, %ebx, 4)
        ret
3:      incl    error
        call    report
        jmp     2b

check_next:
        movl    next_check, %ebx
        call    locate
        movb    $0x42, %ah
        call    transfer
        jc      3f
        call    judge
1:      incl    next_check
        movl    next_check, %eax
        cmpl    blocks, %eax
        jb      2f
        movl    $0, next_check
        incl    pass
        call    grow
        call    report
2:      ret
3:      incl    error
        call    report
        jmp     1b

grow:
        cmpl    $BLOCKS, blocks
        jae     1f
        addl    $MORE_BLOCKS, blocks
1:      ret

/* Counts block %ebx, which is in the buffer. */
judge:
        movl    %fs:(, %ebx, 4), %edx
        call    is_zero
        je      1f
        call    checksum
        cmpl    %es:AT_CHECKSUM, %eax
        jne     2f
        cmpl    $MAGIC, %es:0
        jne     2f
        cmpl    %es:AT_NUMBER, %ebx
        jne     2f
        cmpl    %edx, %es:AT_SEQUENCE
        je      3f
        jb      4f
2:      incl    wrong
        ret
1:      testl   %edx, %edx
        jnz     4f
3:      incl    ok
        ret
4:      incl    stale
        ret

/* Where block %ebx lies. */
locate:
        leal    1(%ebx), %eax           /* behind this program's own 4 KiB */
        shll    $3, %eax
        cmpl    $NEAR_BLOCKS, %ebx
        jb      1f
        leal    -NEAR_BLOCKS(%ebx), %ecx
        shll    $7, %ecx
        addl    %ecx, %eax
1:      movl    %eax, lba
        ret

/* Makes block %ebx of the present sequence number in the buffer. */
fill:
        xorw    %di, %di
        movl    $MAGIC, %eax
        stosl
        movl    %ebx, %eax
        stosl
        movl    sequence, %eax
        stosl
        imull   $1000003, %eax
        addl    %ebx, %eax
        movw    $BLOCK_WORDS - 4, %cx
1:      addl    $GOLDEN, %eax
        stosl
        loop    1b
        call    checksum
        stosl
        ret

/* Of the buffer, in %eax. */
checksum:
        xorw    %si, %si
        xorl    %eax, %eax
        movw    $BLOCK_WORDS - 1, %cx
1:      roll    $5, %eax
        addl    %es:(%si), %eax
        addw    $4, %si
        loop    1b
        ret

/* Equal, where the buffer is all zeroes. */
is_zero:
        xorw    %di, %di
        xorl    %eax, %eax
        movw    $BLOCK_WORDS, %cx
        repe scasl
        ret

report:
        movw    $counts, %si
1:      movw    (%si), %di              /* a word, and the number that it names */
        testw   %di, %di
        jz      2f
        call    print
        movw    2(%si), %di
        movl    (%di), %eax
        call    print_number
        addw    $4, %si
        jmp     1b
2:      movw    $line_end, %di
        call    print
        ret

/* The text at %di. */
print:
        movb    (%di), %al
        testb   %al, %al
        jz      1f
        call    send
        incw    %di
        jmp     print
1:      ret

/* %eax in decimal. */
print_number:
        movl    $10, %ecx
        xorw    %di, %di                /* digits on the stack */
1:      xorl    %edx, %edx
        divl    %ecx
        pushw   %dx
        incw    %di
        testl   %eax, %eax
        jnz     1b
2:      popw    %ax
        addb    $'0', %al
        call    send
        decw    %di
        jnz     2b
        ret

/* The character in %al. */
send:
        movb    %al, %ah
        movw    $SERIAL_STATUS, %dx
1:      inb     %dx, %al
        testb   $SERIAL_CAN_SEND, %al
        jz      1b
        movw    $SERIAL_DATA, %dx
        movb    %ah, %al
        outb    %al, %dx
        ret

counts:
        .word   ok_text, ok, stale_text, stale, wrong_text, wrong
        .word   error_text, error, sequence_text, sequence, pass_text, pass, 0
ok_text:
        .asciz  "guest ok "
stale_text:
        .asciz  " stale "
wrong_text:
        .asciz  " wrong "
error_text:
        .asciz  " error "
sequence_text:
        .asciz  " seq "
pass_text:
        .asciz  " pass "
line_end:
        .asciz  "\r\n"

        .balign 4
ok:     .long   0
stale:  .long   0
wrong:  .long   0
error:  .long   0
sequence:
        .long   0
pass:   .long   0
next_write:
        .long   0
next_check:
        .long   0
blocks: .long   FIRST_BLOCKS

        .org    OWN_SECTORS * SECTOR_BYTES
