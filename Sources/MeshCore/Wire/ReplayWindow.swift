/// Which of the last 1024 counters of a sender were seen. Packets overtake each other, so a counter below the highest is not yet a replay.
struct ReplayWindow: Sendable {
    static let width: UInt64 = 1024
    private var highest: UInt64
    /// A ring of bits: counter `c` at bit `c % 1024`.
    private var words: [UInt64]

    /// - Parameter counter: it and all below it count as seen, though only it was: what the sender said before it had proven itself could
    ///   have been recorded and held back.
    init(seenUpTo counter: UInt64) {
        highest = counter
        words = [UInt64](repeating: .max, count: Int(Self.width / 64))
    }

    func accepts(_ counter: UInt64) -> Bool {
        if counter > highest { return true }
        // The second half is written so that it can't overflow near the top.
        guard highest - counter < Self.width, counter > 0 else { return false }
        return words[word(counter)] & bit(counter) == 0
    }

    mutating func record(_ counter: UInt64) {
        if counter > highest {
            if counter - highest >= Self.width {
                for index in words.indices { words[index] = 0 }
            } else {
                for passed in (highest + 1)...counter { words[word(passed)] &= ~bit(passed) }
            }
            highest = counter
        }
        words[word(counter)] |= bit(counter)
    }

    private func word(_ counter: UInt64) -> Int { Int(counter % Self.width / 64) }
    private func bit(_ counter: UInt64) -> UInt64 { 1 << (counter % 64) }
}
