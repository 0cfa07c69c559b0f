import MeshCore

/// Gathers the records of a batch that could not be merged, so that one of them doesn't hold up the others.
struct Rejections {
    private var first: MirrorError?
    private var keys: [SessionKey] = []

    /// An error that names no record is about all of the batch and comes before those that do.
    mutating func note(_ error: MirrorError) {
        let comesFirst = first.map { !$0.isFailureOfTheMirror && error.isFailureOfTheMirror } ?? true
        if comesFirst { first = error }
        keys += error.keys
    }

    func finish() throws(MirrorError) {
        guard var first else { return }
        if !first.isFailureOfTheMirror { first.keys = keys }
        throw first
    }
}

extension MirrorError {
    static func foreign(_ key: SessionKey) -> MirrorError {
        MirrorError(.foreignData, "what is stored under session \(key) is not a session of ours; it is left alone", keys: [key])
    }

    /// Nil when none of the items of a log is.
    init?(tooLongIn items: [[UInt8]]) {
        guard let tooLong = items.first(where: { $0.count > ChannelItem.payloadMax }) else { return nil }
        self.init(.refused, "an item of \(tooLong.count) bytes is longer than the \(ChannelItem.payloadMax) that a log takes")
    }

    /// - Parameter what: with its article, to begin a sentence.
    static func foreign(_ what: String) -> MirrorError {
        MirrorError(.foreignData, "\(what) is not ours in this mirror; it is left alone")
    }

    static func unusable(_ record: MirrorRecord, _ fault: String) -> MirrorError {
        MirrorError(.refused, "session \(record.key) would have \(fault)", keys: [record.key])
    }
}
