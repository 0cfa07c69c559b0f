import Crypto

/// Asks a sender that was never heard before to prove that it speaks now, and remembers nothing of having asked.
///
/// A process that has just started can't tell a fresh packet from one recorded an hour ago: both are sealed well. So it answers the first
/// packet of a sender with a question that only this process can have put, and only to that sender at that address a moment ago. The
/// sender repeats the question inside its own seal, and the process recognises it by computing it again.
struct Challenge: Sendable {
    /// Of a question: the counter of the packet that it is about, and a code. The code need not be longer: a guess must be sealed by a
    /// holder of the key, and costs one packet each.
    static let bytes = 16
    /// A question is good for as long as is left of its period and for one more.
    static let period: Duration = .seconds(10)
    /// Questions to one address within a second. A sender that loses some gets more; a recorded packet played over and over gets no more.
    static let asksMax = 10
    /// Addresses asked within a second, of about 60 bytes. When full no other is asked until the next second, and a newcomer waits: whoever
    /// plays recorded packets under forged addresses can make this process send no more than `asksMax` times this many.
    static let sourcesMax = 1024

    private let secret: SymmetricKey
    private var asked: [Endpoint: Int] = [:]
    private var askedIn = Int64.min

    init(secret: SymmetricKey) { self.secret = secret }

    /// Whether one more question may go to `source` now; counts it.
    mutating func mayAsk(_ source: Endpoint, at now: Moment) -> Bool {
        let second = now.uptime / 1_000_000_000
        if second != askedIn {
            asked.removeAll(keepingCapacity: asked.count <= 64)
            askedIn = second
        }
        let count = asked[source] ?? 0
        guard count < Self.asksMax, count > 0 || asked.count < Self.sourcesMax else { return false }
        asked[source] = count + 1
        return true
    }

    /// What to ask the sender `sid`, about its packet `counter` that came from `source`.
    func question(to sid: UInt64, about counter: UInt64, at source: Endpoint, now: Moment) -> [UInt8] {
        question(to: sid, about: counter, at: source, period: Self.period(of: now))
    }

    /// Whether this process has put that question to that sender, there, a moment ago.
    func recognises(_ answer: ArraySlice<UInt8>, from sid: UInt64, at source: Endpoint, now: Moment) -> Bool {
        let counter = Self.subject(of: answer)
        let period = Self.period(of: now)
        return [period, period - 1].contains { candidate in
            let expected = question(to: sid, about: counter, at: source, period: candidate)
            // All bytes are compared, so that the time taken says nothing of the first difference.
            return zip(expected, answer).reduce(0) { $0 | ($1.0 ^ $1.1) } == 0
        }
    }

    /// The counter of the packet that a question is about.
    static func subject(of question: ArraySlice<UInt8>) -> UInt64 {
        question.prefix(8).reduce(0) { $0 << 8 | UInt64($1) }
    }

    private func question(to sid: UInt64, about counter: UInt64, at source: Endpoint, period: Int64) -> [UInt8] {
        var subject = ByteWriter(reserving: 48)
        subject.write(sid)
        subject.write(counter)
        subject.write(UInt64(bitPattern: period))
        subject.write(source)
        var question = ByteWriter(reserving: Self.bytes)
        question.write(counter)
        question.write(raw: HMAC<SHA256>.authenticationCode(for: subject.bytes, using: secret).prefix(8))
        return question.bytes
    }

    private static func period(of now: Moment) -> Int64 { now.uptime / period.nanoseconds }
}

/// The last messages sent, for the case that their receiver asks before it listens.
struct SentMessages: Sendable {
    struct Message: Sendable {
        var counter: UInt64
        var endpoint: Endpoint
        var payload: [UInt8]
        var at: Int64
    }

    /// More than are under way to receivers that might ask. At most 72 KB, mostly 10. When full the oldest is forgotten; that one is lost,
    /// as any packet may be.
    static let max = 64
    /// Beyond it the message has been given up by whoever sent it.
    static let age: Duration = .seconds(2)

    private var ring: [Message] = []
    private var next = 0

    mutating func add(_ message: Message) {
        if ring.count < Self.max {
            ring.append(message)
        } else {
            ring[next] = message
            next = (next + 1) % Self.max
        }
    }

    /// The message that went out under that counter. It is given once, so that a recorded question repeats nothing twice.
    mutating func take(_ counter: UInt64, at now: Moment) -> Message? {
        guard let index = ring.firstIndex(where: { $0.counter == counter && !$0.payload.isEmpty }) else { return nil }
        let message = ring[index]
        ring[index].payload = []
        return now.uptime - message.at <= Self.age.nanoseconds ? message : nil
    }
}
