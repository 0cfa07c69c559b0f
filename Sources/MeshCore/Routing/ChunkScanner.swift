/// Follows a chunked body as it passes (RFC 9112, section 7.1), strictly: the bytes are forwarded as they are, so whoever is behind us must not be able to read them
/// in another way. No white space, no sign, no prefix in a size; CRLF and nothing else at each end of line.
public struct ChunkScanner: Sendable {
    public enum Progress: Hashable, Sendable {
        /// All bytes belong to the body, which goes on.
        case more
        /// The body ended; this many bytes belonged to it.
        case end(Int)
        case fault
    }

    /// Longest extensions of a whole message, and longest trailers. More serves nobody but an attacker.
    public static let extensionBytesMax = 1024
    public static let trailerBytesMax = 8 * 1024
    public static let trailersMax = 32

    /// Each state names the byte that is expected next.
    private enum State: UInt8, Sendable {
        /// The first digit of a size. Can transition to size.
        case sizeStart
        /// Another digit, an extension or the line's end. Can transition to extensionName, sizeLF.
        case size
        /// A token's byte behind `;`. Can transition to extensionName2.
        case extensionName
        case extensionName2
        /// A token or quote behind `=`. Can transition to extensionToken, quoted.
        case extensionValue
        case extensionToken
        case quoted, quotedPair, quotedEnd
        /// The LF of a size line. Can transition to data, trailerStart.
        case sizeLF
        /// A byte of the chunk. Can transition to dataCR.
        case data
        case dataCR, dataLF
        /// The first byte of a trailer line or of the blank line. Can transition to trailerName, endLF.
        case trailerStart
        case trailerName, trailerValue, trailerLF
        case endLF
        case ended
    }

    private var state = State.sizeStart
    private var remaining = 0
    private var digits = 0
    private var extensionBytes = 0
    private var trailerBytes = 0
    private var trailers = 0

    public init() {}

    /// Consumes `bytes`.
    /// - Parameter data: called with each range that is content and not framing.
    public mutating func consume(_ bytes: UnsafeRawBufferPointer, data: (Range<Int>) -> Void = { _ in }) -> Progress {
        var position = 0
        while position < bytes.count {
            if state == .data {
                let taken = min(remaining, bytes.count - position)
                data(position..<position + taken)
                position += taken
                remaining -= taken
                if remaining == 0 { state = .dataCR }
                continue
            }
            guard step(bytes[position]) else { return .fault }
            position += 1
            if state == .ended { return .end(position) }
        }
        return .more
    }

    /// False when `byte` may not stand here.
    private mutating func step(_ byte: UInt8) -> Bool {
        switch state {
        case .sizeStart, .size:
            if let digit = Self.hexValue(byte) {
                // 15 digits: can't overflow 63 bits, and leading zeros can't go on for ever.
                digits += 1
                guard digits <= 15 else { return false }
                remaining = remaining << 4 | digit
                state = .size
                return true
            }
            guard state == .size else { return false }
            return endOfExtension(byte)
        case .extensionName:
            state = .extensionName2
            return isTokenByte(byte) && countExtension()
        case .extensionName2:
            if isTokenByte(byte) { return countExtension() }
            if byte == UInt8(ascii: "=") {
                state = .extensionValue
                return countExtension()
            }
            return endOfExtension(byte)
        case .extensionValue:
            state = byte == UInt8(ascii: "\"") ? .quoted : .extensionToken
            return (state == .quoted || isTokenByte(byte)) && countExtension()
        case .extensionToken:
            return isTokenByte(byte) ? countExtension() : endOfExtension(byte)
        case .quoted:
            if byte == UInt8(ascii: "\"") { state = .quotedEnd } else if byte == UInt8(ascii: "\\") { state = .quotedPair }
            return Self.isText(byte) && countExtension()
        case .quotedPair:
            state = .quoted
            return Self.isText(byte) && countExtension()
        case .quotedEnd:
            return endOfExtension(byte)
        case .sizeLF:
            digits = 0
            state = remaining == 0 ? .trailerStart : .data
            return byte == 0x0A
        case .data:
            return false
        case .dataCR:
            state = .dataLF
            return byte == 0x0D
        case .dataLF:
            state = .sizeStart
            return byte == 0x0A
        case .trailerStart:
            if byte == 0x0D {
                state = .endLF
                return true
            }
            trailers += 1
            state = .trailerName
            return isTokenByte(byte) && trailers <= Self.trailersMax && countTrailer()
        case .trailerName:
            if byte == UInt8(ascii: ":") { state = .trailerValue }
            return (state == .trailerValue || isTokenByte(byte)) && countTrailer()
        case .trailerValue:
            if byte == 0x0D {
                state = .trailerLF
                return true
            }
            return Self.isText(byte) && countTrailer()
        case .trailerLF:
            state = .trailerStart
            return byte == 0x0A
        case .endLF:
            state = .ended
            return byte == 0x0A
        case .ended:
            return false
        }
    }

    private mutating func endOfExtension(_ byte: UInt8) -> Bool {
        if byte == 0x0D {
            state = .sizeLF
            return true
        }
        state = .extensionName
        return byte == UInt8(ascii: ";") && countExtension()
    }

    private mutating func countExtension() -> Bool {
        extensionBytes += 1
        return extensionBytes <= Self.extensionBytesMax
    }

    private mutating func countTrailer() -> Bool {
        trailerBytes += 1
        return trailerBytes <= Self.trailerBytesMax
    }

    private static func isText(_ byte: UInt8) -> Bool { byte >= 0x20 && byte != 0x7F || byte == 0x09 }

    private static func hexValue(_ byte: UInt8) -> Int? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): Int(byte - UInt8(ascii: "0"))
        case UInt8(ascii: "a")...UInt8(ascii: "f"): Int(byte - UInt8(ascii: "a")) + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): Int(byte - UInt8(ascii: "A")) + 10
        default: nil
        }
    }
}
