import MeshCore

extension [MirrorRecord] {
    /// In the order given, in parts of so many records and about so many bytes at most.
    func parts(recordsMax: Int, bytesMax: Int) -> [ArraySlice<MirrorRecord>] {
        var parts: [ArraySlice<MirrorRecord>] = []
        var (start, bytes) = (0, 0)
        for (index, record) in enumerated() {
            bytes += record.entries.reduce(64) { $0 + $1.byteCount }
            guard index + 1 - start == recordsMax || bytes >= bytesMax || index + 1 == count else { continue }
            parts.append(self[start...index])
            (start, bytes) = (index + 1, 0)
        }
        return parts
    }
}
