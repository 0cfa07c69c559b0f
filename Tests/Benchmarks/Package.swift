// swift-tools-version: 6.2
import PackageDescription

// Benchmarks stand apart so that nobody who builds the product builds them.
let package = Package(
    name: "benchmarks",
    platforms: [.macOS(.v15)],
    products: [.library(name: "MallocCount", type: .dynamic, targets: ["MallocCount"])],
    dependencies: [.package(name: "sessionmesh", path: "../..")],
    targets: [
        .executableTarget(
            name: "balancer-driver",
            dependencies: [
                .product(name: "MeshBalancer", package: "sessionmesh"), .product(name: "MeshCore", package: "sessionmesh"),
            ],
            path: "balancer/Driver"),
        .executableTarget(name: "balancer-load", path: "balancer/Load", cSettings: [.unsafeFlags(["-O2"])]),
        .target(name: "MallocCount", path: "balancer/MallocCount"),
    ]
)
