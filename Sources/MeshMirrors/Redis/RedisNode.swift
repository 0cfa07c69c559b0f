#if Redis
    import Logging
    import MeshCore
    import NIOCore

    /// A Redis that a connection is kept to: made, greeted, and made anew when it breaks.
    final class RedisNode: RedisServers {
        /// Where a connection should lead. It is asked before each is made.
        typealias Locator = @Sendable () async throws(MirrorError) -> RedisAddress.Server

        private let connector: RedisConnector
        private let configuration: RedisMirror.Configuration
        private let reconnectDelays: ClosedRange<Duration>
        private let locator: Locator
        private let link: NIOLoopBoundBox<RedisLink>

        init(
            _ configuration: RedisMirror.Configuration, _ connector: RedisConnector, greeting: RedisGreeting, logger: Logger,
            at locator: @escaping Locator
        ) {
            self.connector = connector
            self.configuration = configuration
            reconnectDelays = configuration.reconnectDelayMin...max(configuration.reconnectDelayMin, configuration.reconnectDelayMax)
            self.locator = locator
            let link = RedisLink(
                eventLoop: connector.eventLoop, greeting: greeting, greetingTimeout: configuration.connectTimeout, logger: logger)
            self.link = .makeBoxSendingValue(link, eventLoop: connector.eventLoop)
        }

        /// Calls that a Redis without the script left undone (it was restarted or its scripts were flushed) are made again in full.
        func call(_ calls: [RedisCall]) async throws(MirrorError) -> [RedisReply] {
            var replies = try await exchange(calls.lazy.map { $0.command(inFull: false) }, until: configuration.commandDeadline())
            let unknown = replies.indices.filter { if case .error(let text) = replies[$0] { text.hasPrefix("NOSCRIPT") } else { false } }
            if unknown.isEmpty { return replies }
            let again = try await exchange(unknown.lazy.map { calls[$0].command(inFull: true) }, until: configuration.commandDeadline())
            for (index, reply) in zip(unknown, again) { replies[index] = reply }
            return replies
        }

        func answers(to command: RedisCommand) async throws(MirrorError) -> [RedisReply] {
            try await exchange([command], until: configuration.commandDeadline())
        }

        func visitedKeys() -> [[UInt8]] { [Array(RedisScript.visitsKey.utf8)] }

        /// Sends commands in one piece and returns their replies in order.
        func exchange(_ commands: some Sequence<RedisCommand>, until deadline: NIODeadline) async throws(MirrorError) -> [RedisReply] {
            var request = ByteBuffer()
            var count = 0
            for command in commands {
                guard command.write(to: &request) else { throw MirrorError(.unreachable, "there is no memory for a request to redis") }
                count += 1
            }
            let outcome = await withCheckedContinuation { (waiter: RedisLink.Waiter) in
                connector.eventLoop.execute { [request, link, count] in
                    link.value.submit(request, commands: count, deadline: deadline, waiter: waiter)
                }
            }
            return try outcome.get()
        }

        /// Gives the connection up and makes one to where it should lead now.
        func renew(_ reason: MirrorError) {
            connector.eventLoop.execute { [link] in link.value.renewed(reason) }
        }

        /// Returns when the task is cancelled.
        func run() async {
            await onLoop { $0.started() }
            await keepConnected { await self.runConnection() }
            await onLoop { $0.stopped() }
        }

        func runWakeups(_ wakeups: Wakeups) async {
            let greeting = RedisGreeting(configuration.address)
            // Always with a pause behind it: nobody waits for it in haste.
            await keepConnected {
                guard let server = try? await self.locator() else { return false }
                let channel = try? await self.connector.connect(to: server) {
                    RedisWakeupHandler(wakeups: wakeups, greeting: greeting, server: server)
                }
                if let channel { await RedisConnector.untilClosed(channel) }
                return false
            }
        }

        /// True when the connection was of use, so that the next may be tried at once.
        private func runConnection() async -> Bool {
            do {
                let server = try await located()
                await onLoop { $0.turned(to: server) }
                await RedisConnector.untilClosed(
                    try await connector.connect(to: server) { [link] in RedisChannelHandler(link: link.value) })
                return await onLoop { $0.hasServed }
            } catch {
                let error = RedisConnector.error(error, "redis can't be reached")
                await onLoop { $0.failedToConnect(error) }
                return false
            }
        }

        /// - Parameter connection: makes one and stays until it is closed. True when it was of use, so that the next may be tried at once.
        private func keepConnected(_ connection: () async -> Bool) async {
            var generator = SeededGenerator(seed: .random(in: .min ... .max))
            var delay = reconnectDelays.lowerBound
            while !Task.isCancelled {
                let start = ContinuousClock.now
                if await connection() {
                    delay = reconnectDelays.lowerBound
                    continue
                }
                // One that stood for a while was of use too, though it may have served nobody.
                if ContinuousClock.now - start > reconnectDelays.upperBound { delay = reconnectDelays.lowerBound }
                try? await Task.sleep(for: generator.jittered(delay, share: 0.5))
                delay = min(delay * 2, reconnectDelays.upperBound)
            }
        }

        private func located() async throws(MirrorError) -> RedisAddress.Server {
            do throws(MirrorError) {
                return try await locator()
            } catch {
                await onLoop { $0.turned(to: nil) }
                throw error
            }
        }

        private func onLoop<Answer: Sendable>(_ body: @escaping @Sendable (RedisLink) -> Answer) async -> Answer {
            await withCheckedContinuation { continuation in
                connector.eventLoop.execute { [link] in continuation.resume(returning: body(link.value)) }
            }
        }
    }
#endif
