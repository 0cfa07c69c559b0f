/// Reads commands from bytes that arrive in pieces of any size: arrays of bulk strings, and nothing else.
///
/// A command is decoded where it was received: its words are ranges of the buffer, and only what a request keeps is copied. ``RESPParser`` would
/// read the same commands with the limits of ``RESPLimits/commands``, as an array of arrays; a test holds the two equal.
///
/// Each byte is looked at once, but for a length that is cut off. Lengths and counts are checked before anything is kept for them. The first
/// error is final.
public struct CommandReader: Sendable {
    private static let limits = RESPLimits.commands
    /// Memory that is kept for the next piece. A socket gives no more than this at once.
    private static let keptBytesMax = 64 * 1024

    private var buffer: [UInt8] = []
    /// Where the command that is being read begins.
    private var start = 0
    /// Everything before it is read.
    private var position = 0
    /// The words of that command that are here, counted from where it begins.
    private var words: [Range<Int>] = []
    /// How many words it has; nil until that is here.
    private var wordCount: Int?
    private var failure: RESPError?

    public init() {}

    /// Bytes kept for a command that is not complete. Never more than one command and the piece that was added last.
    public var bufferedBytes: Int { buffer.count - start }

    public mutating func append(_ bytes: UnsafeRawBufferPointer) {
        guard failure == nil else { return }
        if start == buffer.count {
            buffer.removeAll(keepingCapacity: buffer.count <= Self.keptBytesMax)
            (start, position) = (0, 0)
        } else if start > Self.keptBytesMax {
            buffer.removeFirst(start)
            (start, position) = (0, position - start)
        }
        buffer.append(contentsOf: bytes)
    }

    public mutating func append(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes { append($0) }
    }

    /// The next whole command, or why it is none that an agent knows; the connection stays usable after that. Nil when more bytes are needed.
    /// - Throws: what is no command at all. The connection can't be used any further.
    public mutating func next() throws(RESPError) -> Result<ClientCommand, ClientFailure>? {
        if let failure { throw failure }
        // Those of the command before. They were kept until now, for the array is in use while a command is decoded.
        if words.count == wordCount {
            words.removeAll(keepingCapacity: true)
            wordCount = nil
        }
        do {
            guard try readWords() else { return nil }
        } catch {
            failure = error
            buffer = []
            (start, position) = (0, 0)
            throw error
        }
        let command = CommandWords(bytes: buffer[start..<position], words: words)
        start = position
        do { return .success(try ClientProtocol.decode(command)) } catch { return .failure(error) }
    }

    /// Whether all words of the command are here.
    private mutating func readWords() throws(RESPError) -> Bool {
        while words.count < wordCount ?? .max {
            guard position < buffer.count else { return false }
            guard buffer[position] == UInt8(ascii: wordCount == nil ? "*" : "$") else { throw .notACommand }
            guard let (number, end) = try readNumber() else { return false }
            let room = Self.limits.messageBytesMax - (end - start)
            if wordCount == nil {
                guard number > 0 else { throw .notACommand }
                guard number < Self.limits.elementsMax else { throw .tooManyElements }
                wordCount = number
                position = end
            } else {
                guard number <= room - 2 else { throw .messageTooLarge }
                guard buffer.count - end >= number + 2 else { return false }
                guard buffer[end + number] == 0x0D, buffer[end + number + 1] == 0x0A else { throw .malformedEnd }
                words.append(end - start..<end - start + number)
                position = end + number + 2
            }
        }
        return true
    }

    /// The length or count behind the byte at `position`: decimal, without sign or leading zeros. Nil when its end is not here.
    private func readNumber() throws(RESPError) -> (Int, end: Int)? {
        var value = 0
        var index = position + 1
        while index < buffer.count {
            let byte = buffer[index]
            let digits = index - position - 1
            if byte == 0x0D {
                guard digits > 0 else { throw .malformedNumber }
                guard index + 1 < buffer.count else { return nil }
                guard buffer[index + 1] == 0x0A else { throw .malformedEnd }
                return (value, index + 2)
            }
            guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte), digits < 10, digits == 0 || value > 0 else {
                throw .malformedNumber
            }
            value = value * 10 + Int(byte - UInt8(ascii: "0"))
            index += 1
        }
        return nil
    }
}

/// The words of one command, taken from the front. Every failure names the command and what it wanted.
struct CommandWords {
    private let bytes: ArraySlice<UInt8>
    /// In `bytes`, counted from its beginning.
    private let words: [Range<Int>]
    private var taken = 0

    init(bytes: ArraySlice<UInt8>, words: [Range<Int>]) {
        self.bytes = bytes
        self.words = words
    }

    /// - Throws: when it is no array of bulk strings.
    init(_ command: RESPValue) throws(ClientFailure) {
        guard case .array(let values) = command else { throw ClientFailure(.invalid, "a command is an array of bulk strings") }
        var bytes: [UInt8] = []
        var words: [Range<Int>] = []
        for value in values {
            guard case .bulk(let word) = value else { throw ClientFailure(.invalid, "a word of a command is not a bulk string") }
            words.append(bytes.count..<bytes.count + word.count)
            bytes += word
        }
        self.init(bytes: bytes[...], words: words)
    }

    var isAtEnd: Bool { taken == words.count }

    mutating func next(_ what: String) throws(ClientFailure) -> ArraySlice<UInt8> {
        guard !isAtEnd else { throw invalid("\(what) is missing") }
        defer { taken += 1 }
        return self[taken]
    }

    mutating func nextWord(_ what: String) throws(ClientFailure) -> CommandWord { CommandWord(bytes: try next(what)) }

    /// Takes the next word if it is that one.
    mutating func take(_ word: StaticString) -> Bool {
        guard !isAtEnd, word ~= CommandWord(bytes: self[taken]) else { return false }
        taken += 1
        return true
    }

    func finish() throws(ClientFailure) {
        guard isAtEnd else { throw invalid("\(words.count - taken) more arguments than it takes") }
    }

    private subscript(index: Int) -> ArraySlice<UInt8> {
        let start = bytes.startIndex
        return bytes[start + words[index].lowerBound..<start + words[index].upperBound]
    }

    /// The first word names the command.
    func invalid(_ what: String) -> ClientFailure {
        ClientFailure(.invalid, "\(words.isEmpty ? "?" : CommandWord(bytes: self[0]).printable): \(what)")
    }
}

/// A word that says what is meant: a command's name, or what is to be done to a field. In upper or lower case.
struct CommandWord {
    let bytes: ArraySlice<UInt8>

    static func ~= (name: StaticString, word: CommandWord) -> Bool {
        guard word.bytes.count == name.utf8CodeUnitCount else { return false }
        var letter = name.utf8Start
        for byte in word.bytes {
            let isLower = (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
            guard letter.pointee == (isLower ? byte - 0x20 : byte) else { return false }
            letter += 1
        }
        return true
    }

    /// At most 40 characters of what somebody sent, safe in a log line.
    var printable: String {
        let text = String(decoding: bytes.prefix(200), as: UTF8.self).uppercased()
        return String(text.unicodeScalars.prefix(40).map { $0.isASCII && $0.value >= 0x20 && $0.value != 0x7F ? Character($0) : "?" })
    }
}
