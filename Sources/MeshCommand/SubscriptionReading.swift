import ArgumentParser
import SessionMesh

/// What commands have that print a subscription as it comes.
struct ReadingOptions: ParsableArguments {
    @Option(help: "Ends after so many lines. (default: at Ctrl-C)")
    var count: Int?

    @OptionGroup var client: ClientOptions

    func validate() throws {
        guard count.map({ $0 > 0 }) ?? true else { throw ValidationError("--count is 1 or more") }
    }

    /// - Parameters:
    ///   - begun: said on standard error once everything that comes is told.
    ///   - line: what is printed of an element; nil for a gap.
    func read<Element: Sendable>(
        _ subscribe: @escaping @Sendable (SessionMesh) async throws -> Subscription<Element>, begun: String,
        line: @escaping @Sendable (Element) -> String?
    ) async throws {
        let reading = Task {
            try await client.ask { mesh in
                let subscription = try await subscribe(mesh)
                Output.note(begun)
                var left = count ?? .max
                for try await element in subscription {
                    guard let line = line(element) else {
                        Output.note("the agent was away, or cut off; something may be missing here")
                        continue
                    }
                    Output.line(line)
                    left -= 1
                    if left == 0 { return }
                }
            }
        }
        try await Services.untilSignalled {
            do { try await reading.value } catch let error as SessionError where error.code == .cancelled {} catch is CancellationError {}
        } onSignal: {
            reading.cancel()
        }
    }
}
