// swift-tools-version: 6.2
import PackageDescription

let strict = Context.environment["SESSIONMESH_STRICT"] != nil

let settings: [SwiftSetting] =
    [
        // https://github.com/swiftlang/swift-evolution/blob/main/proposals/0335-existential-any.md
        .enableUpcomingFeature("ExistentialAny"),
        // https://github.com/swiftlang/swift-evolution/blob/main/proposals/0409-access-level-on-imports.md
        .enableUpcomingFeature("InternalImportsByDefault"),
        // https://github.com/swiftlang/swift-evolution/blob/main/proposals/0444-member-import-visibility.md
        .enableUpcomingFeature("MemberImportVisibility"),
        // The command-line flag would reach the dependencies too, so `make check` sets a variable instead.
    ] + (strict ? [.treatAllWarnings(as: .error)] : [])

// What the targets below draw from other packages, by the name of the module.
let argumentParser = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let collections = Target.Dependency.product(name: "Collections", package: "swift-collections")
let coreMetrics = Target.Dependency.product(name: "CoreMetrics", package: "swift-metrics")
let crypto = Target.Dependency.product(name: "Crypto", package: "swift-crypto")
let hummingbird = Target.Dependency.product(name: "Hummingbird", package: "hummingbird")
let hummingbirdCore = Target.Dependency.product(name: "HummingbirdCore", package: "hummingbird")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let metricsTestKit = Target.Dependency.product(name: "MetricsTestKit", package: "swift-metrics")
let nioConcurrencyHelpers = Target.Dependency.product(name: "NIOConcurrencyHelpers", package: "swift-nio")
let nioCore = Target.Dependency.product(name: "NIOCore", package: "swift-nio")
let nioHTTP1 = Target.Dependency.product(name: "NIOHTTP1", package: "swift-nio")
let nioHTTPTypes = Target.Dependency.product(name: "NIOHTTPTypes", package: "swift-nio-extras")
let nioHTTPTypesHTTP1 = Target.Dependency.product(name: "NIOHTTPTypesHTTP1", package: "swift-nio-extras")
let nioSSL = Target.Dependency.product(name: "NIOSSL", package: "swift-nio-ssl", condition: .when(traits: ["Redis"]))
let nioTLS = Target.Dependency.product(name: "NIOTLS", package: "swift-nio", condition: .when(traits: ["Redis"]))
let nioPosix = Target.Dependency.product(name: "NIOPosix", package: "swift-nio")
let nioWebSocket = Target.Dependency.product(name: "NIOWebSocket", package: "swift-nio")
let unixSignals = Target.Dependency.product(name: "UnixSignals", package: "swift-service-lifecycle")
let serviceLifecycle = Target.Dependency.product(name: "ServiceLifecycle", package: "swift-service-lifecycle")

let package = Package(
    name: "sessionmesh",
    platforms: [.macOS(.v15)],
    products: [
        .library(name: "MeshBalancer", targets: ["MeshBalancer"]),
        .library(name: "MeshCore", targets: ["MeshCore"]),
        .library(name: "MeshSupervisor", targets: ["MeshSupervisor"]),
        .library(name: "MirrorConformance", targets: ["MirrorConformance"]),
        .library(name: "SessionMesh", targets: ["SessionMesh"]),
        .library(name: "SessionMeshHummingbird", targets: ["SessionMeshHummingbird"]),
        .executable(name: "sessionmesh", targets: ["MeshCommand"]),
        .executable(name: "sessionmesh-demo", targets: ["Demo"]),
    ],
    // Each store is a trait, so that `--disable-default-traits` builds an agent that links no store's library.
    traits: [
        .default(enabledTraits: ["Memcached", "MongoDB", "Redis"]),
        .trait(name: "Memcached", description: "Mirrors sessions to Memcached; links libmemcached."),
        .trait(name: "MongoDB", description: "Mirrors sessions to MongoDB; links libmongoc, and needs pkg-config to find it."),
        .trait(name: "Redis", description: "Mirrors sessions to Redis; links libhiredis."),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
        .package(url: "https://github.com/apple/swift-nio-extras", from: "1.35.0"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.0"),
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    ],
    targets: [
        .target(name: "MeshCore", dependencies: [collections, crypto], swiftSettings: settings),
        .target(name: "MeshSimulator", dependencies: ["MeshCore", collections], swiftSettings: settings),
        .target(
            name: "MeshAgent",
            dependencies: [
                "CMeshSystem", "MeshCore", "MeshLoop", collections, logging, nioCore, nioHTTP1, nioPosix, serviceLifecycle,
            ],
            swiftSettings: settings
        ),
        // No pkgConfig: Debian's headers and libraries are on the default paths, and hiredis' .pc file only adds a flag that SwiftPM warns
        // about.
        .systemLibrary(name: "CHiredis", providers: [.apt(["libhiredis-dev"])]),
        .systemLibrary(name: "CMemcached", providers: [.apt(["libmemcached-dev"])]),
        // Its headers are not on the default paths.
        .systemLibrary(name: "CMongoc", pkgConfig: "libmongoc-1.0", providers: [.apt(["libmongoc-dev"])]),
        .target(name: "CMongoShim", dependencies: ["CMongoc"]),
        .target(
            name: "MeshMirrors",
            dependencies: [
                "MeshCore", .target(name: "CHiredis", condition: .when(traits: ["Redis"])),
                .target(name: "CMemcached", condition: .when(traits: ["Memcached"])),
                .target(name: "CMongoShim", condition: .when(traits: ["MongoDB"])), collections, crypto, logging, nioConcurrencyHelpers,
                nioCore, nioPosix, nioSSL, nioTLS,
            ],
            swiftSettings: settings
        ),
        // What every mirror keeps, for whoever writes one: no test framework comes with it.
        .target(name: "MirrorConformance", dependencies: ["MeshCore"], swiftSettings: settings),
        // Reading the answers of name servers is not in glibc itself.
        .target(name: "CMeshSystem", linkerSettings: [.linkedLibrary("resolv")]),
        .target(name: "MeshLoop", dependencies: ["CMeshSystem", "MeshCore"], swiftSettings: settings),
        .target(name: "MeshBalancer", dependencies: ["CMeshSystem", "MeshCore", "MeshLoop"], swiftSettings: settings),
        .target(
            name: "SessionMesh",
            dependencies: [
                "MeshCore", collections, coreMetrics, logging, nioCore, nioPosix, serviceLifecycle,
            ],
            swiftSettings: settings
        ),
        // Registers its workers as any application registers itself.
        .target(
            name: "MeshSupervisor",
            dependencies: [
                "CMeshSystem", "MeshCore", "MeshLoop", "SessionMesh", logging, nioCore, nioHTTP1, nioPosix, serviceLifecycle,
            ],
            swiftSettings: settings
        ),
        .target(
            name: "SessionMeshHummingbird",
            dependencies: [
                "MeshCore", "SessionMesh", crypto, hummingbird, hummingbirdCore, logging, nioCore, nioHTTP1, nioHTTPTypes,
                nioHTTPTypesHTTP1, nioWebSocket,
            ],
            swiftSettings: settings
        ),
        .executableTarget(
            name: "MeshCommand",
            dependencies: [
                "CMeshSystem", "MeshAgent", "MeshBalancer", "MeshCore", "MeshMirrors", "MeshSimulator", "MeshSupervisor",
                "MirrorConformance", "SessionMesh", argumentParser, logging, serviceLifecycle, unixSignals,
            ],
            swiftSettings: settings
        ),
        .executableTarget(
            name: "Demo",
            dependencies: [
                "MeshCore", "SessionMesh", "SessionMeshHummingbird", argumentParser, hummingbird, hummingbirdCore, logging, nioCore,
                nioPosix,
            ],
            swiftSettings: settings
        ),

        .target(name: "LogCapture", dependencies: [logging], path: "Tests/LogCapture", swiftSettings: settings),
        .target(name: "TemporaryDirectory", path: "Tests/TemporaryDirectory", swiftSettings: settings),
        .target(
            name: "ScriptedAgent",
            dependencies: [
                "LogCapture", "MeshCore", "SessionMesh", "TemporaryDirectory", coreMetrics, logging, nioCore, nioPosix, serviceLifecycle,
            ],
            path: "Tests/ScriptedAgent",
            swiftSettings: settings
        ),
        .testTarget(name: "MeshCoreTests", dependencies: ["MeshCore"], swiftSettings: settings),
        .testTarget(name: "MeshSimulatorTests", dependencies: ["MeshCore", "MeshSimulator"], swiftSettings: settings),
        .testTarget(
            name: "MeshAgentTests",
            dependencies: [
                "LogCapture", "MeshAgent", "MeshCore", "MeshLoop", "TemporaryDirectory", logging, nioCore, nioPosix, serviceLifecycle,
            ],
            swiftSettings: settings
        ),
        .testTarget(
            name: "MeshMirrorsTests",
            dependencies: ["LogCapture", "MeshCore", "MeshMirrors", "MirrorConformance", "TemporaryDirectory", logging, nioCore, nioPosix],
            swiftSettings: settings),
        .testTarget(
            name: "MeshSupervisorTests",
            dependencies: ["MeshCommand", "MeshCore", "MeshSupervisor", "TemporaryDirectory", logging, serviceLifecycle],
            swiftSettings: settings),
        .testTarget(name: "MeshBalancerTests", dependencies: ["MeshBalancer", "MeshCore"], swiftSettings: settings),
        .testTarget(
            name: "MeshCommandTests", dependencies: ["MeshAgent", "MeshCommand", "MeshCore", "MeshSimulator", argumentParser],
            swiftSettings: settings),
        .testTarget(
            name: "SessionMeshTests", dependencies: ["LogCapture", "MeshCore", "ScriptedAgent", "SessionMesh", logging, metricsTestKit],
            swiftSettings: settings),
        .testTarget(
            name: "SessionMeshHummingbirdTests",
            dependencies: [
                "LogCapture", "MeshCore", "ScriptedAgent", "SessionMesh", "SessionMeshHummingbird", hummingbird, hummingbirdCore, logging,
                nioCore, nioHTTP1, nioHTTPTypes, nioHTTPTypesHTTP1, nioPosix, nioWebSocket, serviceLifecycle,
            ],
            swiftSettings: settings
        ),
        // The README's programs, built so that they can't rot.
        .executableTarget(
            name: "ReadmeExample",
            dependencies: [
                "SessionMesh", "SessionMeshHummingbird", hummingbird,
            ],
            path: "Tests/Snippets",
            exclude: ["ComputeExample.swift", "WithoutFramework.swift"],
            swiftSettings: settings
        ),
        .executableTarget(
            name: "WithoutFramework", dependencies: ["SessionMesh"], path: "Tests/Snippets",
            exclude: ["ComputeExample.swift", "ReadmeExample.swift"], swiftSettings: settings),
        .executableTarget(
            name: "ComputeExample", dependencies: ["SessionMesh", "SessionMeshHummingbird", hummingbird], path: "Tests/Snippets",
            exclude: ["ReadmeExample.swift", "WithoutFramework.swift"], swiftSettings: settings),
        .testTarget(
            name: "DocumentTests", dependencies: ["ComputeExample", "ReadmeExample", "WithoutFramework"], swiftSettings: settings),
        .testTarget(
            name: "DemoTests",
            dependencies: [
                "Demo", "MeshCore", "ScriptedAgent", "SessionMesh", hummingbird, logging, serviceLifecycle,
            ],
            swiftSettings: settings
        ),
        // Labs start real agents and harm them. They are here and not with the other benchmarks because tests run one of them for a minute.
        .target(name: "LabTools", path: "Tests/Benchmarks/LabTools", swiftSettings: settings),
        .target(
            name: "AgentTools", dependencies: ["LabTools", "MeshCore", "TemporaryDirectory"], path: "Tests/Benchmarks/AgentTools",
            swiftSettings: settings),
        // On purpose without the product's libraries: it starts programs and reads what they print.
        .executableTarget(
            name: "membership-lab", dependencies: ["LabTools"], path: "Tests/Benchmarks/membership/Driver", swiftSettings: settings),
        .executableTarget(
            name: "session-lab", dependencies: ["AgentTools", "LabTools", "MeshCore", "MeshSimulator"],
            path: "Tests/Benchmarks/sessions/Lab", swiftSettings: settings),
        .executableTarget(
            name: "supervisor-lab", dependencies: ["LabTools", "TemporaryDirectory"], path: "Tests/Benchmarks/supervisor/Lab",
            swiftSettings: settings),
        .executableTarget(
            name: "mirror-lab", dependencies: ["AgentTools", "LabTools", "MeshCore", "MeshMirrors", logging],
            path: "Tests/Benchmarks/mirrors/Lab", swiftSettings: settings),
        .executableTarget(
            name: "pool-lab", dependencies: ["LabTools", "SessionMesh", hummingbird, nioCore, nioPosix],
            path: "Tests/Benchmarks/pool/Lab", swiftSettings: settings),
        // Starts the executables, so it depends on them being built.
        .testTarget(
            name: "EndToEndTests",
            dependencies: [
                "ComputeExample", "Demo", "MeshCommand", "SessionMesh", "SessionMeshHummingbird", "TemporaryDirectory", "WithoutFramework",
                "session-lab", hummingbird, logging, metricsTestKit, serviceLifecycle,
            ],
            swiftSettings: settings
        ),
    ]
)

// Whoever builds from Sources alone, as the image does, has nothing to make the tests of.
if Context.environment["SESSIONMESH_SOURCES_ONLY"] != nil {
    package.targets.removeAll { $0.type == .test || $0.path?.hasPrefix("Tests/") == true }
}
