// The agents' JSON lines have a shape that is known, so a search does for a parser.

extension ArraySlice<UInt8> {
    /// Where `word` ends in these bytes.
    private func end(of word: String) -> Int? {
        let wanted = Array(word.utf8)
        guard count >= wanted.count, let first = wanted.first else { return nil }
        for start in startIndex...(endIndex - wanted.count) where self[start] == first {
            if self[start..<start + wanted.count].elementsEqual(wanted) { return start + wanted.count }
        }
        return nil
    }

    package func contains(_ word: String) -> Bool { end(of: word) != nil }

    /// The value of a key whose text needs no escapes: names, words and addresses don't.
    package func text(of key: String) -> String? {
        guard let start = end(of: "\"\(key)\":\""), let stop = self[start...].firstIndex(of: UInt8(ascii: "\"")) else { return nil }
        return String(decoding: self[start..<stop], as: UTF8.self)
    }

    package func number(of key: String) -> Int? {
        guard let start = end(of: "\"\(key)\":") else { return nil }
        let digits = self[start...].prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
        return Int(String(decoding: digits, as: UTF8.self))
    }
}
