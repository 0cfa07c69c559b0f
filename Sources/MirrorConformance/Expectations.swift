import MeshCore

/// What was expected and what was seen instead, before anybody has said of which claim.
struct Deviation: Error {
    var expected: String
    var seen: String
    var error: MirrorError?
    var location: Location
}

/// A line of the suite.
struct Location: Sendable {
    var file: String
    var line: Int
}

func expect<Seen>(
    _ holds: Bool, _ expected: String, saw seen: @autoclosure () -> Seen, file: String = #fileID, line: Int = #line
) throws {
    if !holds { throw Deviation(expected: expected, seen: shown(seen()), location: Location(file: file, line: line)) }
}

func expect<Value: Equatable>(_ seen: Value, is expected: Value, file: String = #fileID, line: Int = #line) throws {
    try expect(seen == expected, shown(expected), saw: seen, file: file, line: line)
}

/// Equal but for an expiry that a store may know only to the second.
func expect(_ seen: MirrorRecord?, is expected: MirrorRecord?, file: String = #fileID, line: Int = #line) throws {
    var aligned = seen
    if let expected, let seen, (0...1000).contains(seen.expiresAt - expected.expiresAt) { aligned?.expiresAt = expected.expiresAt }
    guard aligned != expected else { return }
    throw Deviation(
        expected: shown(expected, unlike: seen), seen: shown(seen, unlike: expected), location: Location(file: file, line: line))
}

/// The error, when it has the code that was expected.
@discardableResult
func expect(
    _ code: MirrorError.Code, file: String = #fileID, line: Int = #line, from call: () async throws -> Void
) async throws -> MirrorError {
    let error = try await failure(of: call)
    guard let error, error.code == code else {
        let seen = error.map { shown($0) } ?? "no error"
        throw Deviation(expected: "an error of code \(code)", seen: seen, error: error, location: Location(file: file, line: line))
    }
    return error
}

/// The error of a mirror's call, nil when there was none.
func failure(of call: () async throws -> Void) async throws -> MirrorError? {
    do {
        try await call()
        return nil
    } catch let error as MirrorError {
        return error
    }
}

/// Repeats `attempt` until neither a mirror nor an expectation throws, for a minute at most.
func eventually(
    _ what: String, file: String = #fileID, line: Int = #line, _ attempt: () async throws -> Void
) async throws {
    let deadline = ContinuousClock.now + .seconds(60)
    while true {
        let last: (seen: String, error: MirrorError?)
        do {
            return try await attempt()
        } catch let error as MirrorError {
            last = (shown(error), error)
        } catch let deviation as Deviation {
            last = (deviation.seen, deviation.error)
        }
        guard ContinuousClock.now < deadline else {
            throw Deviation(
                expected: "\(what) within a minute", seen: "\(last.seen) to the last", error: last.error,
                location: Location(file: file, line: line))
        }
        try await Task.sleep(for: .milliseconds(20))
    }
}

/// In words, or the beginning of what may be as large as a record.
func shown<Value>(_ value: Value) -> String {
    switch value {
    case let error as MirrorError: return "the error \(error.code): \(error.description)"
    case let tail as ChannelTail:
        let payloads = shown(tail.items.map(\.payload))
        return "\(tail.items.count) items up to \(tail.mark), \(tail.isGapped ? "with" : "without") a gap: \(payloads)"
    default:
        let text = String(describing: value)
        return text.count > 400 ? "\(text.prefix(400))... (\(text.count) characters)" : text
    }
}

/// What tells a record from another.
private func shown(_ record: MirrorRecord?, unlike other: MirrorRecord?) -> String {
    guard let record else { return "no record" }
    let known = Set(other?.entries ?? [])
    let own = record.entries.filter { !known.contains($0) }.prefix(3).map { entry in
        let bytes = entry.payload.count
        return "\(shown(entry.name)) of version \(shown(entry.version)) with \(bytes) bytes \(shown(entry.payload.prefix(16)))"
    }
    return "a \(record.isTombstone ? "tombstone" : "record") \(record.key) of \(record.entries.count) entries that expires at "
        + "\(record.expiresAt)\(record.user.map { " of user \($0)" } ?? "")\(own.isEmpty ? "" : ", among them \(own.joined(separator: ", "))")"
}
