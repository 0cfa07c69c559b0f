#if Redis
    import DequeModule
    import MeshCore
    import NIOCore

    /// What is asked of one Redis and not yet answered: a value that decides, and a shell (``RedisLink``) that does.
    ///
    /// Redis answers in the order it was asked, so replies are paired by position alone. Therefore a connection on which an answer is late
    /// is closed: its late reply must never be paired with the next request.
    ///
    /// An exchange (some commands and all their replies) waits until the connection is ready and has room, and gives up at its deadline
    /// wherever it is then. Deadlines are set by one rule when exchanges come in, so the first of a queue is the first due. Only what a Redis Cluster has
    /// sent on to another node comes with an earlier one: when that node doesn't answer, it is noticed with the one before it.
    struct RedisPipeline<Ticket> {
        struct Exchange {
            let ticket: Ticket
            let request: ByteBuffer
            let commands: Int
            let deadline: NIODeadline
        }

        enum Phase: Hashable {
            /// No connection, but none has failed since the last that worked: exchanges wait. Can transition to greeting, down and stopped.
            case connecting
            /// Connected; the replies to the greeting are awaited. Can transition to ready, connecting, down and stopped.
            case greeting
            /// Can transition to connecting, down and stopped.
            case ready
            /// The last attempt failed: exchanges are refused at once with its error, while the shell goes on trying. Can transition to
            /// greeting, down and stopped.
            case down
            /// Nobody runs the mirror any more. Can transition to connecting.
            case stopped
        }

        enum Directive {
            case write(ByteBuffer)
            case answer(Ticket, Result<[RedisReply], MirrorError>)
            /// All replies to the greeting are there: judge them, then call ``accepted()`` or ``lost(_:)``.
            case greeted([RedisReply])
            case closeConnection
        }

        /// Commands on the way at once. More would only move the queue from here into Redis' buffers.
        static var inFlightMax: Int { 1024 }
        /// Bytes on the way at once, unless a single exchange is larger: bounds what NIO keeps for a Redis that doesn't read.
        static var inFlightBytesMax: Int { 4 << 20 }
        /// Exchanges that wait for their turn; one more is refused. At this length they would time out before their turn came.
        static var waitingMax: Int { WaitingMax.redis }

        private(set) var phase = Phase.connecting
        /// Whether the connection, or the last one when there is none, has answered anything but its greeting.
        private(set) var hasServed = false
        /// Why exchanges are refused; nil when they aren't.
        private var failure: MirrorError?
        private var waiting: Deque<Exchange> = []
        private var inFlight: Deque<Exchange> = []
        /// The replies to the first exchange in flight, or to the greeting, that have come so far.
        private var replies: [RedisReply] = []
        private var commandsInFlight = 0
        private var bytesInFlight = 0
        private var greeting: (commands: Int, deadline: NIODeadline)?

        init() {}

        mutating func submit(_ exchange: Exchange) -> [Directive] {
            if let failure { return [.answer(exchange.ticket, .failure(failure))] }
            guard waiting.count < Self.waitingMax else {
                return [
                    .answer(exchange.ticket, .failure(MirrorError(.timedOut, "\(Self.waitingMax) requests are waiting for redis already")))
                ]
            }
            waiting.append(exchange)
            return writeWhatFits()
        }

        /// A connection stands; `request` is what it is greeted with.
        mutating func connected(greeting request: ByteBuffer, commands: Int, deadline: NIODeadline) -> [Directive] {
            phase = .greeting
            hasServed = false
            greeting = (commands, deadline)
            return [.write(request)]
        }

        /// The greeting was answered as it should be.
        mutating func accepted() -> [Directive] {
            guard phase == .greeting else { return [] }
            phase = .ready
            failure = nil
            return writeWhatFits()
        }

        mutating func received(_ reply: RedisReply) -> [Directive] {
            if let (commands, _) = greeting {
                replies.append(reply)
                guard replies.count == commands else { return [] }
                greeting = nil
                defer { replies = [] }
                return [.greeted(replies)]
            }
            guard phase == .ready, let exchange = inFlight.first else {
                return lost(MirrorError(.unreachable, "redis answered something that was not asked"))
            }
            replies.append(reply)
            guard replies.count == exchange.commands else { return [] }
            hasServed = true
            inFlight.removeFirst()
            commandsInFlight -= exchange.commands
            bytesInFlight -= exchange.request.readableBytes
            defer { replies = [] }
            return [.answer(exchange.ticket, .success(replies))] + writeWhatFits()
        }

        /// When ``tick(_:)`` is due next. A tick that comes too early does nothing.
        var nextDeadline: NIODeadline? {
            [greeting?.deadline, inFlight.first?.deadline, waiting.first?.deadline].compactMap { $0 }.min()
        }

        mutating func tick(_ now: NIODeadline) -> [Directive] {
            let isLate = [greeting?.deadline, inFlight.first?.deadline].contains { $0.map { $0 <= now } ?? false }
            var directives = isLate ? lost(MirrorError(.timedOut, "redis did not answer in time")) : []
            while let exchange = waiting.first, exchange.deadline <= now {
                waiting.removeFirst()
                directives.append(.answer(exchange.ticket, .failure(MirrorError(.timedOut, "redis did not take the request in time"))))
            }
            return directives
        }

        /// The connection broke, can't be used any more, or could not be made.
        mutating func lost(_ error: MirrorError) -> [Directive] {
            guard phase != .stopped else { return [] }
            let hadServed = phase == .ready && hasServed
            var directives: [Directive] = phase == .greeting || phase == .ready ? [.closeConnection] : []
            directives += dropConnection(error)
            // A connection that worked is replaced at once, so those in the queue may wait for it. Otherwise waiting has no prospect.
            if hadServed {
                phase = .connecting
            } else {
                phase = .down
                hasServed = false
                failure = error
                directives += dropWaiting(error)
            }
            return directives
        }

        mutating func started() {
            guard phase == .stopped else { return }
            phase = .connecting
            failure = nil
        }

        mutating func stopped() -> [Directive] {
            let error = MirrorError(.unreachable, "the mirror is not running")
            let directives: [Directive] = phase == .greeting || phase == .ready ? [.closeConnection] : []
            phase = .stopped
            failure = error
            return directives + dropConnection(error) + dropWaiting(error)
        }

        private mutating func writeWhatFits() -> [Directive] {
            var directives: [Directive] = []
            while phase == .ready, let exchange = waiting.first, inFlight.isEmpty || fits(exchange) {
                waiting.removeFirst()
                inFlight.append(exchange)
                commandsInFlight += exchange.commands
                bytesInFlight += exchange.request.readableBytes
                directives.append(.write(exchange.request))
            }
            return directives
        }

        private func fits(_ exchange: Exchange) -> Bool {
            commandsInFlight + exchange.commands <= Self.inFlightMax
                && bytesInFlight + exchange.request.readableBytes <= Self.inFlightBytesMax
        }

        private mutating func dropConnection(_ error: MirrorError) -> [Directive] {
            defer {
                inFlight = []
                replies = []
                commandsInFlight = 0
                bytesInFlight = 0
                greeting = nil
            }
            return inFlight.map { .answer($0.ticket, .failure(error)) }
        }

        private mutating func dropWaiting(_ error: MirrorError) -> [Directive] {
            defer { waiting = [] }
            return waiting.map { .answer($0.ticket, .failure(error)) }
        }
    }
#endif
