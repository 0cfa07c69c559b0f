/// What clients asked of a mesh, when, and what they were told. Checks judge it, and nothing else: whether a simulated mesh was asked or a real one
/// is all the same to them.
///
/// Times are of one clock that all clients share, since the run began.
public struct History: Sendable {
    /// In the order in which they were begun.
    public private(set) var operations: [Operation] = []
    /// While not everybody could hear everybody, and afterwards until the mesh was whole again. Two sides of a cut may each go on: of two
    /// operations within one such time neither is held to know of the other.
    public var interruptions: [Interruption] = []
    /// What agents held once all had come to rest.
    public var sightings: [Sighting] = []
    /// What applications were told that follow what becomes of sessions.
    public var followings: [Following] = []
    /// From here on only the last reads were made; nil while there are none.
    public var restedAt: Duration?

    public init() {}

    /// One request, with all its repeats.
    public struct Operation: Hashable, Sendable {
        /// Its place in the history that it was recorded in.
        public internal(set) var number = 0
        /// Who asked. A client asks one thing after the other.
        public var client: Int
        public var session: SessionName
        public var action: Action
        public var invoked: Duration
        /// Nil while no answer came: it may still take effect.
        public var completed: Duration?
        public var outcome = Outcome.unknown
        /// When it was sent for the last time, of one that was sent more than once.
        public var repeated: Duration?
        public var repeats = 0
        /// The agent that was asked last.
        public var agent = ""

        public init(
            client: Int, session: SessionName, action: Action, invoked: Duration, completed: Duration? = nil, outcome: Outcome = .unknown
        ) {
            self.client = client
            self.session = session
            self.action = action
            self.invoked = invoked
            self.completed = completed
            self.outcome = outcome
        }
    }

    /// A session of the workload, by the id that was asked for: 0 is the one it was made with, and each move counts on.
    public struct SessionName: Hashable, Sendable, CustomStringConvertible {
        public var number: Int
        public var id: Int

        public init(_ number: Int, id: Int = 0) {
            self.number = number
            self.id = id
        }

        public var description: String { id == 0 ? "s\(number)" : "s\(number)/\(id)" }
    }

    public enum Action: Hashable, Sendable {
        /// Makes the session, with the client's own field at count 0. It expires when nobody asks for it so long; nil: not within the run.
        case create(idle: Duration?)
        /// Sets the client's own field, which nobody else writes, to a count that rises.
        case write(Int)
        /// Adds to the counter that all clients share.
        case increment(Int64)
        /// Takes that turn, if the last was the one before it.
        case take(Int)
        /// By the cookie, as at the beginning of a request.
        case read
        case destroy
        /// Gives the session its next id.
        case regenerate
    }

    public enum Outcome: Hashable, Sendable {
        case unknown
        /// It has had no effect, and says nothing about the session.
        case failed(String)
        /// There is no such session.
        case absent
        /// Done, and held by so many nodes.
        case done(copies: Int)
        case shown(Contents)
    }

    /// What a read shows.
    public struct Contents: Hashable, Sendable {
        /// By the client whose field it is.
        public var marks: [Int: Mark]
        public var counter: Int64
        /// Fields that nobody wrote.
        public var strange: [String]

        public init(_ marks: [Int: Mark] = [:], counter: Int64 = 0, strange: [String] = []) {
            self.marks = marks
            self.counter = counter
            self.strange = strange
        }
    }

    /// A value as it is written: it says where it belongs, so that one that got elsewhere is recognised.
    public struct Mark: Hashable, Sendable, CustomStringConvertible {
        public var session: Int
        public var client: Int
        public var count: Int

        public init(session: Int, client: Int, count: Int) {
            self.session = session
            self.client = client
            self.count = count
        }

        public var description: String { "s\(session).c\(client).\(count)" }

        public init?(_ text: String) {
            let words = text.split(separator: ".", omittingEmptySubsequences: false)
            guard words.count == 3, words[0].first == "s", words[1].first == "c", let session = Int(words[0].dropFirst()),
                let client = Int(words[1].dropFirst()), let count = Int(words[2])
            else { return nil }
            self.init(session: session, client: client, count: count)
        }
    }

    public struct Interruption: Hashable, Sendable {
        public var began: Duration
        /// Nil while it lasts.
        public var ended: Duration?

        public init(began: Duration, ended: Duration? = nil) {
            self.began = began
            self.ended = ended
        }
    }

    /// The copies of one session at one time.
    public struct Sighting: Hashable, Sendable {
        public var at: Duration
        public var session: SessionName
        public var copies: [Copy]

        public init(at: Duration, session: SessionName, copies: [Copy]) {
            self.at = at
            self.session = session
            self.copies = copies
        }

        public struct Copy: Hashable, Sendable {
            public var agent: String
            public var isOwners: Bool
            /// Of all that a reader can be shown and what decides between writes; nil of one that is not held.
            public var digest: UInt64?

            public init(agent: String, isOwners: Bool, digest: UInt64?) {
                self.agent = agent
                self.isOwners = isOwners
                self.digest = digest
            }
        }
    }

    // MARK: Recording

    @discardableResult
    public mutating func begin(_ operation: Operation) -> Int {
        var operation = operation
        operation.number = operations.count
        operations.append(operation)
        return operation.number
    }

    public mutating func end(_ number: Int, _ outcome: Outcome, at time: Duration) {
        operations[number].outcome = outcome
        operations[number].completed = time
    }

    public mutating func sent(_ number: Int, to agent: String, at time: Duration) {
        if !operations[number].agent.isEmpty {
            operations[number].repeats += 1
            operations[number].repeated = time
        }
        operations[number].agent = agent
    }

    // MARK: Order

    /// Whether whoever asked for `later` is owed what `earlier` did: it was over before, and at no time of both was the mesh cut.
    func precedes(_ earlier: Operation, _ later: Operation) -> Bool {
        guard let completed = earlier.completed, completed < later.invoked else { return false }
        return !interruptions.contains { touches($0, earlier) && touches($0, later) }
    }

    func touches(_ interruption: Interruption, _ operation: Operation) -> Bool {
        interruption.ended.map { operation.invoked <= $0 } ?? true && operation.completed.map { interruption.began <= $0 } ?? true
    }
}

extension History.Operation: CustomStringConvertible {
    public var description: String {
        let end = completed.map { "\(Self.seconds($0))" } ?? "..."
        let again = repeats > 0 ? ", sent \(repeats + 1) times" : ""
        return "c\(client) \(session) \(verb): \(result)  [\(Self.seconds(invoked)) to \(end) s, \(agent)\(again)]"
    }

    private var verb: String {
        switch action {
        case .create(nil): "create"
        case .create(let idle?): "create, idle \(idle)"
        case .write(let count): "write \(count)"
        case .increment(let amount): "add \(amount)"
        case .take(let turn): "take turn \(turn)"
        case .read: "read"
        case .destroy: "destroy"
        case .regenerate: "regenerate"
        }
    }

    private var result: String {
        switch outcome {
        case .unknown: "no answer"
        case .failed(let reason): "failed (\(reason))"
        case .absent: "no such session"
        case .done(let copies): "\(copies) copies"
        case .shown(let contents):
            (contents.marks.sorted { $0.key < $1.key }.map { "c\($0.key) = \($0.value)" } + ["n = \(contents.counter)"] + contents.strange)
                .joined(separator: ", ")
        }
    }

    private static func seconds(_ time: Duration) -> String {
        let (whole, rest) = Int64(time / .milliseconds(1)).quotientAndRemainder(dividingBy: 1000)
        return "\(whole).\(String(rest + 1000).dropFirst())"
    }
}
