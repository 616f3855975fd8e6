"""The shared vocabulary: frames, camera, kinematics, controllers, commands and records. No simulator, no network library."""
