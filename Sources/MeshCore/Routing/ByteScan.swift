// Looking at eight bytes at a time. Heads are attacker-controlled and arrive at the full rate of the wire, so the two loops that touch every byte
// (what may stand in a name, what may stand in a value) are written for speed here and nowhere else.

@inline(__always)
func isTokenByte(_ byte: UInt8) -> Bool {
    // RFC 9110, section 5.6.2: "!#$%&'*+-.^_`|~", digits and letters. Two masks instead of a table: a global table would need a once-check per look.
    let low: UInt64 = 0x03FF_6CFA_0000_0000
    let high: UInt64 = 0x57FF_FFFF_C7FF_FFFE
    if byte < 64 { return low &>> UInt64(byte) & 1 != 0 }
    return byte < 128 && high &>> UInt64(byte &- 64) & 1 != 0
}

extension UnsafeRawBufferPointer {
    /// The first position at or after `start` whose byte is a control character (below 0x20, or DEL); `count` when there is none.
    @inline(__always)
    func firstControl(from start: Int) -> Int {
        var position = start
        let ones: UInt64 = 0x0101_0101_0101_0101
        let tops: UInt64 = 0x8080_8080_8080_8080
        while position &+ 8 <= count {
            let word = loadUnaligned(fromByteOffset: position, as: UInt64.self).littleEndian
            // A byte below 0x20 borrows into its top bit; DEL becomes zero under xor 0x7F. False alarms only sit above a true one.
            let small = (word &- ones &* 0x20) & ~word
            let del = word ^ (ones &* 0x7F)
            let hit = (small | ((del &- ones) & ~del)) & tops
            if hit != 0 { return position &+ hit.trailingZeroBitCount &>> 3 }
            position &+= 8
        }
        while position < count {
            let byte = self[position]
            if byte < 0x20 || byte == 0x7F { return position }
            position &+= 1
        }
        return count
    }

    /// Whether the bytes of `range` are `name`, which is given in lower case; letters of either case match.
    @inline(__always)
    func matches(_ range: Range<Int>, _ name: StaticString) -> Bool {
        guard range.count == name.utf8CodeUnitCount else { return false }
        let expected = name.utf8Start
        var offset = 0
        while offset < range.count {
            let byte = self[range.lowerBound &+ offset]
            let lowered = byte &- UInt8(ascii: "A") < 26 ? byte | 0x20 : byte
            if lowered != expected[offset] { return false }
            offset &+= 1
        }
        return true
    }

    /// Whether two ranges hold the same token, letters of either case matching.
    func sameToken(_ one: Range<Int>, _ other: Range<Int>) -> Bool {
        guard one.count == other.count else { return false }
        for offset in 0..<one.count where lowered(one.lowerBound + offset) != lowered(other.lowerBound + offset) { return false }
        return true
    }

    private func lowered(_ position: Int) -> UInt8 {
        let byte = self[position]
        return byte &- UInt8(ascii: "A") < 26 ? byte | 0x20 : byte
    }
}
