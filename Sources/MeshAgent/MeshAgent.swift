public import Logging
public import MeshCore
import MeshLoop
public import ServiceLifecycle
import Synchronization

/// One agent of the mesh, with its sockets: gossip, peer links, applications, admin.
///
/// It decides nothing. Everything that comes in is told to the core, on a thread of its own and one thing at a time; what the core wants done is done.
public final class MeshAgent: Service {
    public static let version = "0.1.0"

    /// The view, whenever it changes. For one consumer; only the newest waits for it.
    public let views: AsyncStream<MeshView>
    /// What the key file says, whenever it was read again and taken: for who signs or checks cookies beside the agent. For one consumer; only
    /// the newest waits for it.
    public let keyFiles: AsyncStream<KeyFile>
    /// What `--events json` prints. For one consumer; when more than 1024 wait, the oldest are dropped.
    public let notices: AsyncStream<AgentNotice>

    private let configuration: AgentShellConfiguration
    private let keys: KeyFile
    private let keyReader: KeyReader?
    private let mirror: (any Mirror)?
    private let logger: Logger
    private let makeCore: @Sendable (Endpoint, Moment) throws -> any AgentStepping
    private let outlets: AgentOutlets
    private let signals: AsyncStream<AgentSignal>
    private let mirrorRequests: AsyncStream<MirrorRequest>
    /// While it runs.
    private let handle = Mutex<AgentHandle?>(nil)

    /// - Parameters:
    ///   - keys: the mesh's key file; peer links are sealed with its gossip ring.
    ///   - rereadKeys: reads them again for ``reloadKeys(force:)`` and `POST /v1/keys/reload`, on a thread that may wait; what it throws is
    ///     told as one line. Nil when they can't be had a second time.
    ///   - mirror: run by the agent from start to end; nil when there is none.
    ///   - makeCore: makes the core once the sockets are bound, given what other members are to dial.
    public init(
        configuration: AgentShellConfiguration, keys: KeyFile, rereadKeys: (@Sendable () throws -> KeyFile)? = nil,
        mirror: (any Mirror)? = nil, logger: Logger,
        makeCore: @escaping @Sendable (Endpoint, Moment) throws -> any AgentStepping
    ) {
        self.configuration = configuration
        self.keys = keys
        keyReader = rereadKeys.map(KeyReader.init)
        self.mirror = mirror
        self.logger = logger
        self.makeCore = makeCore
        let (views, viewsContinuation) = AsyncStream.makeStream(of: MeshView.self, bufferingPolicy: .bufferingNewest(1))
        let (keyFiles, keyFilesContinuation) = AsyncStream.makeStream(of: KeyFile.self, bufferingPolicy: .bufferingNewest(1))
        let (notices, noticesContinuation) = AsyncStream.makeStream(of: AgentNotice.self, bufferingPolicy: .bufferingNewest(1024))
        // Each kind of signal comes once.
        let (signals, signalsContinuation) = AsyncStream.makeStream(of: AgentSignal.self, bufferingPolicy: .bufferingOldest(4))
        let (requests, requestsContinuation) = AsyncStream.makeStream(
            of: MirrorRequest.self, bufferingPolicy: .bufferingOldest(MirrorPump.queueMax))
        self.views = views
        self.keyFiles = keyFiles
        self.notices = notices
        self.signals = signals
        mirrorRequests = requests
        outlets = AgentOutlets(
            views: viewsContinuation, keyFiles: keyFilesContinuation, notices: noticesContinuation, signals: signalsContinuation,
            mirrorRequests: mirror == nil ? nil : requestsContinuation)
    }

    /// An agent that decides by ``MeshCore/AgentCore``. The endpoint and label of `agent` are taken from what is bound and configured here, and
    /// the seeds of both are one list.
    public convenience init(
        configuration: AgentShellConfiguration, agent: AgentConfiguration, keys: KeyFile,
        rereadKeys: (@Sendable () throws -> KeyFile)? = nil, mirror: (any Mirror)? = nil, logger: Logger
    ) {
        var configuration = configuration
        configuration.seeds += agent.seeds.map { .endpoint($0) }
        configuration.seedInterval = agent.swim.seedInterval
        // The core ends its hand-off by itself, and says goodbye then.
        configuration.leaveTimeout = agent.drainTimeout + .seconds(5)
        configuration.snapshot = configuration.dataDirectory.map {
            SnapshotFile(path: "\($0)/\(agent.name).snapshot", label: configuration.label)
        }
        self.init(
            configuration: configuration, keys: keys, rereadKeys: rereadKeys, mirror: mirror, logger: logger
        ) { [configuration] endpoint, now in
            var agent = agent
            agent.seeds = configuration.seeds.compactMap { if case .endpoint(let endpoint) = $0 { endpoint } else { nil } }
            agent.remembered = configuration.snapshot?.read(logger) ?? []
            agent.seedsAreComplete = agent.seeds.count == configuration.seeds.count
            agent.endpoint = endpoint
            agent.label = configuration.label
            var random = SystemRandomNumberGenerator()
            let secretSeed = (0..<32).map { _ in UInt8.random(in: .min ... .max, using: &random) }
            do {
                return try AgentCore(configuration: agent, keys: keys, seed: random.next(), secretSeed: secretSeed, now: now)
            } catch {
                throw AgentStartError(.invalidAgent, "\(error)")
            }
        }
    }

    /// Runs the agent until a graceful shutdown or `POST /v1/drain`, after which it hands off and leaves the mesh, or until its task is
    /// cancelled, which is a sudden end that the other members notice by themselves.
    ///
    /// - Throws: ``AgentStartError`` when a listener can't be opened; nothing was started then. Also, after everything was closed, when
    ///   the mesh finds that another living agent has this one's name.
    public func run() async throws {
        defer {
            outlets.views.finish()
            outlets.keyFiles.finish()
            outlets.notices.finish()
        }
        let listeners = try Listeners(binding: configuration)
        let core: any AgentStepping
        do { core = try makeCore(listeners.addresses.endpoint, SystemClock.now()) } catch {
            listeners.close()
            throw error
        }
        let handle = try handle(closing: listeners)
        let admin = try await openAdmin(listeners, handle)
        let ending = LoopEnding(running: 1)
        do { try await start(core, listeners, handle, ending) } catch {
            await admin?.close()
            throw error
        }
        self.handle.withLock { $0 = handle }
        logger.info(
            "the agent is up",
            metadata: [
                LogKeys.endpoint: "\(listeners.addresses.endpoint)", LogKeys.client: "\(listeners.addresses.client?.description ?? "none")",
                LogKeys.admin: "\(listeners.addresses.admin?.description ?? "none")",
            ])
        outlets.notices.yield(AgentNotice(time: SystemClock.now().wall, kind: .ready(listeners.addresses)))

        let holder: Member? = await withDiscardingTaskGroup { group in
            if let mirror {
                let pump = MirrorPump(mirror: mirror, requests: mirrorRequests) { answer in
                    handle.execute { $0.feed(.mirror(answer)) }
                }
                group.addTask { await mirror.run() }
                group.addTask { await pump.run() }
            }
            let holder = await withGracefulShutdownHandler {
                await untilDeparted(handle, in: &group)
            } onGracefulShutdown: { [outlets] in
                outlets.signals.yield(.shutdown)
            }
            group.cancelAll()
            return holder
        }

        self.handle.withLock { $0 = nil }
        // The ports are free when this returns.
        await admin?.close()
        handle.execute { driver in
            driver.close()
            driver.loop.stop()
        }
        await ending.wait()
        for socket in [listeners.client, listeners.admin] { socket?.file?.remove() }
        if let holder { throw AgentStartError(nameTakenBy: holder) }
    }

    /// Nil unless the agent runs.
    public func status() async -> AgentStatus? { await handle.withLock { $0 }?.ask { $0.status } }

    /// Nil unless the agent runs. ``views`` has every change.
    public func view() async -> MeshView? { await handle.withLock { $0 }?.ask { $0.view } }

    /// Reads the key file again and follows it as far as the other members allow; `force` follows it at once. What came of it is logged.
    /// Nothing happens unless the agent runs.
    public func reloadKeys(force: Bool = false) {
        handle.withLock { $0 }?.execute { $0.reloadKeys(force: force) }
    }

    // MARK: Threads

    private func handle(closing listeners: Listeners) throws(AgentStartError) -> AgentHandle {
        do throws(SystemError) {
            return AgentHandle(mailbox: try Mailbox(AgentLetters()), troubles: TroubleLedger(logger: logger))
        } catch {
            listeners.close()
            throw .noSocket(error)
        }
    }

    private func openAdmin(_ listeners: Listeners, _ handle: AgentHandle) async throws -> AdminTable.Opened? {
        guard let socket = listeners.admin, let address = configuration.admin else { return nil }
        do {
            return try await AdminTable.open(
                socket, service: AgentAdmin(handle: handle, companion: configuration.companion), isLocalSocket: address.isLocalSocket,
                troubles: handle.troubles)
        } catch {
            listeners.close(exceptAdmin: true)
            throw error
        }
    }

    /// Starts the agent's thread. When this returns, all doors are open and the core has started.
    private func start(_ core: any AgentStepping, _ listeners: Listeners, _ handle: AgentHandle, _ ending: LoopEnding) async throws {
        let (logger, outlets, keyReader, keys, configuration) = (logger, outlets, keyReader, keys.gossip, configuration)
        try await withCheckedThrowingContinuation { (opened: CheckedContinuation<Void, any Error>) in
            @Sendable func failed(_ error: AgentStartError) {
                listeners.close(exceptAdmin: true)
                opened.resume(throwing: error)
            }
            do throws(SystemError) {
                try LoopThread.start {
                    defer { ending.oneEnded() }
                    do throws(AgentStartError) {
                        let loop = try AgentLoop(handle.mailbox)
                        let driver = AgentDriver(
                            core: core, keyReader: keyReader, loop: loop, handle: handle, logger: logger, outlets: outlets)
                        try driver.open(listeners, keys: keys, configuration: configuration)
                        driver.start()
                        opened.resume()
                        loop.run(driver)
                    } catch {
                        failed(error)
                    }
                }
            } catch {
                failed(AgentStartError(.addressUnavailable, "no thread can be started (\(error)): raise the limit of processes"))
            }
        }
    }

    /// - Returns: who has our name, if that is why.
    private func untilDeparted(_ handle: AgentHandle, in group: inout DiscardingTaskGroup) async -> Member? {
        for await signal in signals {
            switch signal {
            case .shutdown:
                handle.execute { $0.leave() }
                group.addTask { [configuration, outlets] in
                    try? await Task.sleep(for: configuration.leaveTimeout)
                    outlets.signals.yield(.leaveTimedOut)
                }
            case .departed: return nil
            case .nameTaken(let holder): return holder
            case .leaveTimedOut:
                logger.warning("the hand-off is not complete after \(configuration.leaveTimeout); the backups take over what is left")
                return nil
            }
        }
        return nil
    }
}
