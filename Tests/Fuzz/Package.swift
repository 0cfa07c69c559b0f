// swift-tools-version: 6.2
import PackageDescription

// Stands apart because it is built with a sanitizer, which run.sh asks for on the command line: the core must be built with it too.
let package = Package(
    name: "fuzz",
    platforms: [.macOS(.v15)],
    dependencies: [.package(name: "sessionmesh", path: "../..")],
    targets: [
        .target(name: "CLibFuzzer", path: "LibFuzzer"),
        .executableTarget(
            name: "mesh-fuzz", dependencies: ["CLibFuzzer", .product(name: "MeshCore", package: "sessionmesh")], path: "Target"),
    ]
)
