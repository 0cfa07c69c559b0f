/// Finds the slot of a request's session in its cookies.
///
/// A cookie that verifies names a session and so a slot; one that does not is treated as none and counted. Verifying costs one HMAC and one more hash, so slots of
/// cookies that verified are remembered: a bounded table with one place per hash, where the newcomer replaces. Only verified cookies get in, so guesses push nobody out.
public struct SessionAffinity: Sendable {
    public enum Verdict: Hashable, Sendable {
        /// No cookie of that name.
        case none
        /// One or more, and none that we signed.
        case tampered
        case slot(Slot)
    }

    private let codec: CookieCodec
    private let names: [[UInt8]]
    private var memory = SlotMemory()

    /// - Parameter names: of the session cookies, as the instances registered them.
    public init(codec: CookieCodec, names: [[UInt8]]) {
        self.codec = codec
        self.names = names
    }

    /// Reads the Cookie fields of a head.
    public mutating func read(_ bytes: UnsafeRawBufferPointer, fields: [HeadField]) -> Verdict {
        var found = false
        for field in fields where field.kind == .cookie {
            for name in names {
                var reader = CookieReader(bytes, field.value)
                while let value = reader.next(named: name) {
                    if let slot = slot(of: UnsafeRawBufferPointer(rebasing: bytes[value])) { return .slot(slot) }
                    found = true
                }
            }
        }
        return found ? .tampered : .none
    }

    private mutating func slot(of value: UnsafeRawBufferPointer) -> Slot? {
        guard value.count <= CookieValue.bytesMax, value.count >= 16 else { return nil }
        if let slot = memory.slot(of: value) { return slot }
        guard let id = codec.verdict(of: value).id else { return nil }
        let slot = SessionKey(of: id).slot
        memory.remember(slot, of: value)
        return slot
    }
}

/// 4096 places of 112 bytes, 448 KiB per loop: the sessions that are active within a second or so on one core.
private struct SlotMemory: Sendable {
    private static let places = 4096
    private static let placeBytes = 112
    /// A place: length, slot, then the cookie's bytes. Length 0 is a free place.
    private static let headerBytes = 4
    private var bytes: [UInt8] = []

    func slot(of value: UnsafeRawBufferPointer) -> Slot? {
        guard !bytes.isEmpty else { return nil }
        let start = Self.place(of: value) * Self.placeBytes
        return bytes.withUnsafeBytes { memory in
            guard Int(memory[start]) == value.count else { return nil }
            let kept = start + Self.headerBytes
            var offset = 0
            while offset + 8 <= value.count {
                guard
                    memory.loadUnaligned(fromByteOffset: kept + offset, as: UInt64.self)
                        == value.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
                else { return nil }
                offset += 8
            }
            while offset < value.count {
                guard memory[kept + offset] == value[offset] else { return nil }
                offset += 1
            }
            return Slot(masking: memory.loadUnaligned(fromByteOffset: start + 2, as: UInt16.self))
        }
    }

    mutating func remember(_ slot: Slot, of value: UnsafeRawBufferPointer) {
        if bytes.isEmpty { bytes = Array(repeating: 0, count: Self.places * Self.placeBytes) }
        let start = Self.place(of: value) * Self.placeBytes
        bytes.withUnsafeMutableBytes { memory in
            memory[start] = UInt8(value.count)
            memory.storeBytes(of: slot.rawValue, toByteOffset: start + 2, as: UInt16.self)
            for offset in 0..<value.count { memory[start + Self.headerBytes + offset] = value[offset] }
        }
    }

    /// The id in front is random, so its first characters are hash enough.
    private static func place(of value: UnsafeRawBufferPointer) -> Int {
        let first = value.loadUnaligned(fromByteOffset: 0, as: UInt64.self)
        let second = value.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
        return Int(truncatingIfNeeded: Mix.finish(first &+ Mix.finish(second)) & UInt64(places - 1))
    }
}
